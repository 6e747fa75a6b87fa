"""The fine-tune stage of a sweep: from its recipe to adapters in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsweep.cluster.protocol import Cluster
from medsweep.errors import MedSweepError
from medsweep.finetune.epochs import epoch_line
from medsweep.finetune.job import FineTuneJob
from medsweep.results.provenance import provenance
from medsweep.sweep.plan import AdapterPlan
from medsweep.sweep.progress import Progress
from medsweep.sweep.resolve import Resolved


def adapter_folder(folder: Path, adapter: AdapterPlan) -> Path:
    """Return where an adapter of a sweep is kept."""
    return folder / "adapters" / adapter.folder_name


def require_fresh(resolved: Resolved, folder: Path, adapters: Sequence[AdapterPlan]) -> None:
    """Refuse to begin a fine-tune that was begun before.

    Raises:
        InputError: there is its adapter, a checkpoint, or Ray Train's own state.
    """
    for adapter in adapters:
        job = replace(finetune_job(resolved, folder, adapter), fresh=True)
        job.require_fresh(folder / ".ray" / adapter.folder_name)


def finetune_all(
    resolved: Resolved,
    folder: Path,
    absent: Sequence[AdapterPlan],
    *,
    cluster: Cluster,
    progress: Progress,
) -> dict[str, str]:
    """Fine-tune what is absent, one at a time, each on a node of its hardware profile.

    Args:
        resolved: the sweep.
        folder: of its results.
        absent: the adapters to make.
        cluster: where nodes are started.
        progress: told of each step, kind "fine-tune", and of each epoch.

    Returns:
        The reason by key of each that failed.
    """
    from medsweep.finetune.ray_train import finetune_on

    failures: dict[str, str] = {}
    for adapter in absent:
        profile, storage = adapter.profile, folder / ".ray"
        job = finetune_job(resolved, folder, adapter)
        cluster.ensure_nodes([profile])
        name = f"{adapter.model.name}@{profile.name}"
        with progress.step("fine-tune", name, announce=True):
            try:
                finetune_on(
                    profile,
                    job,
                    run_name=adapter.folder_name,
                    storage=storage,
                    on_epoch=telling(adapter, progress),
                )
            except MedSweepError as error:
                failures[adapter.key] = str(error)
    return failures


def telling(adapter: AdapterPlan, progress: Progress) -> Callable[[Mapping[str, Any]], None]:
    """Return what tells of each epoch of one adapter."""
    return lambda row: progress.note(f"{adapter.model.name}: {epoch_line(row)}")


def finetune_job(resolved: Resolved, folder: Path, adapter: AdapterPlan) -> FineTuneJob:
    """Return what one adapter's fine-tune is to do, from the sweep's recipe."""
    return FineTuneJob(
        recipe=resolved.spec.finetune.recipe,
        weights=resolved.weights[adapter.model.name],
        split=resolved.split,
        folder=adapter_folder(folder, adapter).resolve(),
        max_tokens=resolved.spec.load.max_tokens,
        seed=resolved.spec.seed,
        provenance={**provenance(), "profile": adapter.profile.name, "sweep": resolved.spec.name},
        checkpoints=(folder / ".ray" / f"{adapter.folder_name}-checkpoints").resolve(),
    )
