"""Whether a model can be fine-tuned on a hardware profile, before anything is rented."""

from __future__ import annotations

from medsweep.finetune.memory import Settings, advice, choose, finetune_memory
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.models.precision import training_precision
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
    gpu = profile.accelerator
    workers = recipe.workers or max(1, profile.gpus)
    capability = gpu.compute_capability if gpu else None
    most = profile.gpus or profile.cpus
    if workers > most:
        return f"finetune.workers: {workers}, and {profile.name} has room for {most}"
    precision = training_precision(model, capability, recipe.quantization, recipe.dtype)
    if precision.refused:
        return f"cannot be fine-tuned on {profile.name}: {precision.refused}"
    share = -(-recipe.batch_size // workers)
    asked = Settings(
        precision.compute,
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
    left_open = {
        "rows": recipe.micro_batch_size,
        "gradient_checkpointing": recipe.gradient_checkpointing,
    }
    free = [name for name, value in left_open.items() if value is None]
    has = gpu.memory_bytes if gpu else profile.host_memory_bytes // workers
    needed = finetune_memory(model, choose(model, asked, has, free=free)).total
    if needed <= has:
        return None
    return (
        f"cannot be fine-tuned on {profile.name}: a worker needs {needed / GIB:.1f} GiB, and "
        f"{advice(model, asked, has)}"
    )
