"""Run a sweep: plan, fine-tune, serve, load, score, store, report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from medsweep.cluster.interrupts import sigterm_interrupts
from medsweep.cluster.joined import JoinedCluster
from medsweep.cluster.local import LocalCluster
from medsweep.cluster.protocol import Cluster
from medsweep.models.ahead import fetched_ahead
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.cells import CellFolder
from medsweep.results.store import exclusive, private
from medsweep.sweep.batches import batch_cells, training_runs
from medsweep.sweep.cell import AdapterPlan, AnyCell, Cell
from medsweep.sweep.collect import (
    RunSummary,
    cell_states,
    count_states,
    failure_reasons,
    measured_otherwise,
    record_refused,
    write_results,
    write_spec,
)
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.finetune import adapter_folder, finetune_missing
from medsweep.sweep.live_page import LivePage
from medsweep.sweep.measure import measure_batch
from medsweep.sweep.plan import Plan, needs_ray
from medsweep.sweep.predict import predicted_steps_s
from medsweep.sweep.prepare import start_ahead
from medsweep.sweep.progress import SweepProgress
from medsweep.sweep.resolve import Resolved


@dataclass(frozen=True)
class Batch:
    """Cells that are deployed together, and the fine-tunes that come before them.

    Attributes:
        adapters: fine-tuned first, unless they exist by then.
        cells: deployed together.
        lock: folder to hold meanwhile; None if the caller holds the folder of the whole sweep.
    """

    adapters: tuple[AdapterPlan, ...]
    cells: tuple[AnyCell, ...]
    lock: Path | None = None


def run_sweep(
    resolved: Resolved, out: Path, *, cluster: Cluster | None = None, metrics_port: int = 0
) -> RunSummary:
    """Measure the cells of a sweep that have no result yet, and write the results of all.

    All fine-tunes come first.

    Args:
        resolved: the sweep.
        out: parent of the sweep's folder.
        cluster: on this machine; None starts one for this sweep.
        metrics_port: TCP port of the live metrics; 0 takes a free one.

    Raises:
        EnvironmentFault: another run holds the folder, a port is in use, or no space is left.
    """
    spec, plan = resolved.spec, resolved.plan
    # Absolute, because Ray's workers run in folders of their own.
    folder = (out / spec.name).resolve()
    with private(folder, applies=not spec.dataset.is_public), exclusive(folder):
        write_spec(spec, folder)
        record_refused(resolved, folder)
        missing = _missing([c for c in plan.all_cells if c.refused is None], folder)
        batches = [
            Batch(_adapters(plan, missing), ()),
            *(Batch((), tuple(cells)) for cells in batch_cells(missing, spec.cells_together)),
        ]
        with LiveMetrics(metrics_port) as metrics:
            cluster = cluster or LocalCluster()
            note = measured_otherwise(folder, missing) if missing else None
            run_batches(resolved, folder, plan.all_cells, batches, cluster, metrics, note)
        return write_results(resolved, folder, len(missing) - len(_missing(missing, folder)))


def run_cells(
    resolved: Resolved, cells: Sequence[Cell], folder: Path, metrics: LiveMetrics
) -> dict[str, str]:
    """Measure given cells one after another in the Ray cluster that this process runs in.

    Several jobs share the sweep's folder: this one locks and writes its own cells' folders alone.

    Args:
        resolved: the sweep.
        cells: what to measure; finished cells are left unchanged.
        folder: of the sweep's results.
        metrics: live metrics.

    Returns:
        The reason of each cell that failed, by its name.
    """
    batches = [
        Batch(_adapters(resolved.plan, [cell]), (cell,), lock=folder / "cells" / cell.key)
        for cell in _missing(cells, folder)
    ]
    run_batches(resolved, folder, cells, batches, JoinedCluster(), metrics)
    return failure_reasons(folder, cells)


def run_batches(
    resolved: Resolved,
    folder: Path,
    cells: Sequence[AnyCell],
    batches: Sequence[Batch],
    cluster: Cluster,
    metrics: LiveMetrics,
    note: str | None = None,
) -> None:
    """Fine-tune and measure batches of cells in their order; each cell ends with a `cell.json`.

    Args:
        resolved: the sweep.
        folder: of its results.
        cells: those whose states are shown.
        batches: what to measure; no finished cells.
        cluster: where; it is started only if Ray is needed.
        metrics: live metrics.
        note: shown before anything is measured; None has none.
    """
    spec = resolved.spec
    progress = SweepProgress(begins=partial(metrics.stage, spec.name))
    missing = [cell for batch in batches for cell in batch.cells]
    states = cell_states(folder, cells)
    _announce(resolved, cells, count_states(states), len(missing), metrics, progress)
    if missing:
        if note is not None:
            progress.note(note)
        context = MeasurementContext(resolved, folder, metrics, progress)
        page = LivePage(context, cells)
        metrics.show(page.pages)
        context.on_measured.append(page.refresh)
        adapters = dict.fromkeys(adapter for batch in batches for adapter in batch.adapters)
        absent = [each for each in adapters if not adapter_folder(folder, each).is_dir()]
        predicted = predicted_steps_s(resolved, absent, missing)
        progress.expect(_steps(context, batches), predicted)
        failures: dict[str, str] = {}
        if spec.quality.entailment is not None:
            with progress.phase("load the model for entailment"):
                entailment = resolved.entailment
            progress.note(f"claims are judged by {entailment and entailment.name}")
        with ExitStack() as stack:
            ray = needs_ray(spec, missing)
            runs = training_runs(absent)
            if ray and runs and cluster.emulates:
                # Of the first run alone: later ones would be fetched while this one is timed.
                weights = [resolved.weights[each.model.name] for each in runs[0]]
                stack.enter_context(fetched_ahead(weights))
            with progress.phase("start Ray" if ray else "connect"):
                stack.enter_context(cluster if ray else sigterm_interrupts(ray=False))
            first = next((batch.cells for batch in batches if batch.cells), ())
            ahead = partial(start_ahead, spec, cluster, first) if cluster.emulates else None
            # Every batch is deployed once before any is deployed again: drift meets all cells.
            for deployment, batch in product(range(1, spec.load.deployments + 1), batches):
                metrics.cells(spec.name, count_states(states))
                with exclusive(batch.lock) if batch.lock else nullcontext():
                    if deployment == 1:
                        failures |= finetune_missing(
                            resolved,
                            folder,
                            batch.adapters,
                            cluster=cluster,
                            progress=progress,
                            meanwhile=ahead,
                        )
                    measure_batch(context, cluster, batch.cells, failures, deployment)
                # Those of all cells would be 10,000 files per batch in the largest sweeps.
                states |= cell_states(folder, batch.cells)
    metrics.cells(spec.name, count_states(states))


def _announce(
    resolved: Resolved,
    cells: Sequence[AnyCell],
    counts: Mapping[str, int],
    missing: int,
    metrics: LiveMetrics,
    progress: SweepProgress,
) -> None:
    """Say what the sweep has and what is to come, to people and to the live metrics."""
    spec, split = resolved.spec, resolved.split
    names = [cell.name.rpartition("@") for cell in cells]
    metrics.planned(spec.name, [(model, profile) for model, _, profile in names])
    if missing:
        look = f"look at {metrics.root}: the report while it fills; " if metrics.is_local else ""
        progress.note(f"{look}live metrics: {metrics.url}")
    progress.note(
        f"{spec.name}: {len(cells)} cell{'s' * (len(cells) != 1)}: {counts['ok']} done earlier, "
        f"{missing} to measure, {counts['refused']} refused; "
        f"dataset: {len(split.train)} pairs to learn and "
        f"{len(split.evaluation)} questions to ask, from {split.summary}"
    )


def _missing(cells: Iterable[AnyCell], folder: Path) -> list[AnyCell]:
    return [cell for cell in cells if not CellFolder(folder / "cells" / cell.key).done]


def _adapters(plan: Plan, cells: Iterable[AnyCell]) -> tuple[AdapterPlan, ...]:
    keys = (cell.adapter for cell in cells if isinstance(cell, Cell))
    return tuple(plan.adapters[key] for key in dict.fromkeys(keys))


def _steps(context: MeasurementContext, batches: Sequence[Batch]) -> dict[str, int]:
    """Return the number of steps to come, by kind."""
    adapters = {adapter for batch in batches for adapter in batch.adapters}
    cells = [cell for batch in batches for cell in batch.cells]
    return {
        "fine-tune": sum(not adapter_folder(context.folder, each).is_dir() for each in adapters),
        "deploy": sum(context.deploys_due(cell) for cell in cells),
        "load": sum(len(context.missing(cell)) for cell in cells),
    }
