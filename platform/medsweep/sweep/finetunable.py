"""Whether a model can be fine-tuned on a hardware profile, before anything is rented."""

from __future__ import annotations

from medsweep.finetune.memory import Need, Settings, advice, choose, finetune_memory
from medsweep.finetune.recipe import Recipe
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.models.precision import TrainingPrecision, training_precision
from medsweep.models.spec import ModelSpec


def finetune_refusal(recipe: Recipe, model: ModelSpec, profile: HardwareProfile) -> str | None:
    """Return a sentence that says why a recipe cannot run on a profile, or None if it can.

    Args:
        recipe: the recipe.
        model: the base model.
        profile: the hardware; each GPU has one worker.
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
        f"{advice(_settings(recipe, model, profile), has)}"
    )


def finetune_caveat(recipe: Recipe, model: ModelSpec, profile: HardwareProfile) -> str | None:
    """Return what a user should know before a recipe runs on a profile, or None.

    Its result may be worse than on other hardware, or it needs another build of a library.

    Args:
        recipe: the recipe.
        model: the base model.
        profile: the hardware.
    """
    precision = _precision(recipe, model, profile)
    parts = [
        *([f"may be worse than elsewhere: {precision.degraded}"] if precision.degraded else []),
        *([f"needs {precision.needs}"] if precision.needs else []),
    ]
    return "; ".join(parts) or None


def finetune_need(recipe: Recipe, model: ModelSpec, profile: HardwareProfile) -> Need:
    """Return the memory that each worker needs, with the recipe's open fields chosen to fit.

    Args:
        recipe: the recipe.
        model: the base model.
        profile: the hardware; each GPU has one worker.
    """
    settings = choose(_settings(recipe, model, profile), _memory_bytes(recipe, profile))
    return finetune_memory(settings)


def _settings(recipe: Recipe, model: ModelSpec, profile: HardwareProfile) -> Settings:
    precision = _precision(recipe, model, profile)
    return Settings(model, recipe, precision.compute, _workers(recipe, profile))


def _precision(recipe: Recipe, model: ModelSpec, profile: HardwareProfile) -> TrainingPrecision:
    capability = profile.accelerator.compute_capability if profile.accelerator else None
    return training_precision(model, capability, recipe.quantization, recipe.dtype)


def _workers(recipe: Recipe, profile: HardwareProfile) -> int:
    return recipe.workers or max(1, profile.gpus)


def _memory_bytes(recipe: Recipe, profile: HardwareProfile) -> int:
    """Return the memory of one worker."""
    gpu = profile.accelerator
    return gpu.usable_bytes if gpu else profile.host_memory_bytes // _workers(recipe, profile)
