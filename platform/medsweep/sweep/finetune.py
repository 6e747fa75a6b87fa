"""The fine-tune stage of a sweep: makes the adapters that its cells serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsweep.cluster.protocol import Cluster
from medsweep.errors import MedSweepError
from medsweep.finetune.epochs import epoch_line
from medsweep.finetune.job import FineTuneJob
from medsweep.models.weights import fetch_weights
from medsweep.results.provenance import provenance
from medsweep.sweep.finetunable import finetune_caveat
from medsweep.sweep.plan import AdapterPlan
from medsweep.sweep.progress import SweepProgress
from medsweep.sweep.resolve import Resolved


def adapter_folder(folder: Path, adapter: AdapterPlan) -> Path:
    """Return the folder of one of a sweep's adapters."""
    return folder / "adapters" / adapter.folder_name


def require_fresh(resolved: Resolved, folder: Path, adapters: Sequence[AdapterPlan]) -> None:
    """Refuse to continue a fine-tune that has already started.

    Raises:
        InputError: its adapter, a checkpoint, or Ray Train's own state exists.
    """
    for adapter in adapters:
        job = replace(finetune_job(resolved, folder, adapter), fresh=True)
        job.require_fresh(folder / ".ray" / adapter.folder_name)


def finetune_missing(
    resolved: Resolved,
    folder: Path,
    adapters: Iterable[AdapterPlan],
    *,
    cluster: Cluster,
    progress: SweepProgress,
) -> dict[str, str]:
    """Fine-tune the adapters that do not exist yet, one at a time, each on a node of its profile.

    Args:
        resolved: the sweep.
        folder: of its results.
        adapters: which ones.
        cluster: where the nodes are.
        progress: is told of each step, kind "fine-tune", and of each epoch.

    Returns:
        The reason of each fine-tune that failed, by the adapter's key.
    """
    from medsweep.finetune.ray_train import finetune_on

    failures: dict[str, str] = {}
    for adapter in adapters:
        if adapter_folder(folder, adapter).is_dir():
            continue
        name = f"{adapter.model.name}@{adapter.profile.name}"
        try:
            cluster.ensure_nodes([adapter.profile])
            caveat = finetune_caveat(resolved.spec.finetune.recipe, adapter.model, adapter.profile)
            if caveat is not None:
                progress.note(f"fine-tune of {name}: {caveat}")
            with progress.step("fine-tune", name, announce=True):
                job = finetune_job(resolved, folder, adapter)
                if job.weights.on_hub:
                    # The workers of a private cluster have no token for the hub.
                    cluster.call_on_node(adapter.profile, fetch_weights, job.weights)
                finetune_on(
                    adapter.profile,
                    job,
                    run_name=adapter.folder_name,
                    storage=folder / ".ray",
                    on_epoch=epoch_notes(adapter, progress),
                    on_step=progress.training,
                )
        except MedSweepError as error:
            progress.skip("fine-tune", 1)
            failures[adapter.key] = str(error)
    return failures


def epoch_notes(
    adapter: AdapterPlan, progress: SweepProgress
) -> Callable[[Mapping[str, Any]], None]:
    """Return a callback that writes a line after each epoch of one adapter."""
    return lambda row: progress.note(f"{adapter.model.name}: {epoch_line(row)}")


def finetune_job(resolved: Resolved, folder: Path, adapter: AdapterPlan) -> FineTuneJob:
    """Return the job that fine-tunes one adapter by the sweep's recipe."""
    return FineTuneJob(
        recipe=resolved.spec.finetune.recipe,
        weights=resolved.weights[adapter.model.name],
        split=resolved.split,
        folder=adapter_folder(folder, adapter).resolve(),
        max_tokens=resolved.spec.load.max_tokens,
        seed=resolved.spec.seed,
        provenance={**provenance(), "profile": adapter.profile.name, "sweep": resolved.spec.name},
        checkpoints=(folder / ".ray" / f"{adapter.folder_name}-checkpoints").resolve(),
        asks=resolved.spec.finetune.ask,
    )
