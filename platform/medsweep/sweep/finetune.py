"""The fine-tune stage of a sweep: makes the adapters that its cells serve."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medsweep.cluster.protocol import Cluster
from medsweep.errors import MedSweepError
from medsweep.finetune.epochs import epoch_line
from medsweep.finetune.job import FineTuneJob
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.weights import fetch_weights
from medsweep.names import first_names
from medsweep.results.provenance import provenance
from medsweep.sweep.batches import training_runs
from medsweep.sweep.cell import AdapterPlan
from medsweep.sweep.finetunable import finetune_caveat
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
    meanwhile: Callable[[HardwareProfile], None] | None = None,
) -> dict[str, str]:
    """Fine-tune the adapters that do not exist yet, one at a time, each on a node of its profile.

    Args:
        resolved: the sweep.
        folder: of its results.
        adapters: which ones.
        cluster: where the nodes are.
        progress: is told of each step, kind "fine-tune", and of each epoch.
        meanwhile: called with the profile of the last run while its workers start, as in
            `finetune_on`.

    Returns:
        The reason of each fine-tune that failed, by the adapter's key.
    """

    def is_absent(adapter: AdapterPlan) -> bool:
        return not adapter_folder(folder, adapter).is_dir()

    failures: dict[str, str] = {}
    runs = deque(training_runs(filter(is_absent, adapters)))
    while runs:
        run = runs.popleft()
        try:
            last = None if runs else meanwhile
            _finetune_run(resolved, folder, run, cluster, progress, last)
        except MedSweepError as error:
            if len(run) == 1:
                progress.skip("fine-tune", 1)
                failures[run[0].key] = str(error)
                continue
            # Each in a run of its own: a failure must not keep the others from being trained.
            absent = [adapter for adapter in run if is_absent(adapter)]
            progress.skip("fine-tune", len(run) - len(absent))
            runs.extendleft([adapter] for adapter in reversed(absent))
    return failures


def _finetune_run(
    resolved: Resolved,
    folder: Path,
    adapters: Sequence[AdapterPlan],
    cluster: Cluster,
    progress: SweepProgress,
    meanwhile: Callable[[HardwareProfile], None] | None,
) -> None:
    """Fine-tune adapters of one profile in one run of Ray Train.

    Raises:
        MedSweepError: one of them failed.
    """
    from medsweep.finetune.ray_train import finetune_on

    profile = adapters[0].profile
    names = [f"{adapter.model.name}@{profile.name}" for adapter in adapters]
    cluster.ensure_nodes([profile])
    for adapter, name in zip(adapters, names, strict=True):
        caveat = finetune_caveat(resolved.spec.finetune.recipe, adapter.model, profile)
        if caveat is not None:
            progress.note(f"fine-tune of {name}: {caveat}")
    jobs = [finetune_job(resolved, folder, adapter) for adapter in adapters]
    with progress.step("fine-tune", first_names(names), len(jobs), announce=True):
        for job in jobs:
            if job.weights.on_hub:
                # The workers of a private cluster have no token for the hub.
                cluster.call_on_node(profile, fetch_weights, job.weights)
        finetune_on(
            profile,
            *jobs,
            run_name=adapters[0].folder_name,
            storage=folder / ".ray",
            on_epoch=epoch_notes(progress),
            on_step=progress.training,
            meanwhile=None if meanwhile is None else partial(meanwhile, profile),
        )


def epoch_notes(progress: SweepProgress) -> Callable[[FineTuneJob, Mapping[str, Any]], None]:
    """Return a callback that writes a line after each epoch."""
    return lambda job, row: progress.note(f"{job.weights.spec.name}: {epoch_line(row)}")


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
