"""Whether a model can be fine-tuned on a hardware profile, before anything is rented."""

from __future__ import annotations

from medsweep.finetune.memory import Need, Settings, advice, choose, finetune_memory
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.models.precision import TrainingPrecision, training_precision
from medsweep.models.spec import ModelSpec
from medsweep.sweep.spec import FineTuneSpec


def finetune_refusal(
    recipe: FineTuneSpec, model: ModelSpec, profile: HardwareProfile
) -> str | None:
    """Return a sentence that says why a recipe cannot be done there, or None where it can.

    Args:
        recipe: what is asked for.
        model: the base model.
        profile: where; each GPU has a worker.
    """
    workers, most = _workers(recipe, profile), profile.gpus or profile.cpus
    if workers > most:
        return f"finetune.workers: {workers}, and {profile.name} has room for {most}"
    precision = _precision(recipe, model, profile)
    if precision.refused:
        return f"cannot be fine-tuned on {profile.name}: {precision.refused}"
    needed, has = finetune_need(recipe, model, profile).total, _memory_bytes(recipe, profile)
    if needed <= has:
        return None
    return (
        f"cannot be fine-tuned on {profile.name}: a worker needs {needed / GIB:.1f} GiB, and "
        f"{advice(model, _settings(recipe, model, profile), has)}"
    )


def finetune_need(recipe: FineTuneSpec, model: ModelSpec, profile: HardwareProfile) -> Need:
    """Return what a recipe needs on each worker, what it leaves open chosen so that it fits.

    Args:
        recipe: what is asked for.
        model: the base model.
        profile: where; each GPU has a worker.
    """
    left_open = {
        "rows": recipe.micro_batch_size,
        "gradient_checkpointing": recipe.gradient_checkpointing,
    }
    free = [name for name, value in left_open.items() if value is None]
    asked, has = _settings(recipe, model, profile), _memory_bytes(recipe, profile)
    return finetune_memory(model, choose(model, asked, has, free=free))


def _settings(recipe: FineTuneSpec, model: ModelSpec, profile: HardwareProfile) -> Settings:
    workers = _workers(recipe, profile)
    share = -(-recipe.batch_size // workers)
    return Settings(
        _precision(recipe, model, profile).compute,
        recipe.quantization,
        recipe.rank,
        tuple(recipe.targets or model.lora_targets),
        recipe.dropout,
        min(share, recipe.micro_batch_size or share),
        min(recipe.max_seq_length, model.context_length),
        bool(recipe.gradient_checkpointing),
        recipe.strategy,
        workers,
    )


def _precision(
    recipe: FineTuneSpec, model: ModelSpec, profile: HardwareProfile
) -> TrainingPrecision:
    capability = profile.accelerator.compute_capability if profile.accelerator else None
    return training_precision(model, capability, recipe.quantization, recipe.dtype)


def _workers(recipe: FineTuneSpec, profile: HardwareProfile) -> int:
    return recipe.workers or max(1, profile.gpus)


def _memory_bytes(recipe: FineTuneSpec, profile: HardwareProfile) -> int:
    """Return the memory of one worker."""
    gpu = profile.accelerator
    return gpu.memory_bytes if gpu else profile.host_memory_bytes // _workers(recipe, profile)
