"""What a benchmark job does in its own Ray cluster: measure its cells, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medsweep.cluster.joined import JoinedCluster
from medsweep.errors import MedSweepError
from medsweep.finetune.adapter import read_adapter
from medsweep.loadgen.calibrate import calibrate
from medsweep.models.weights import materialise
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.store import exclusive
from medsweep.sweep.finetune import adapter_folder, finetune_all
from medsweep.sweep.measure import Ground, concurrency_of, give_up, measure_wave
from medsweep.sweep.plan import Cell
from medsweep.sweep.predict import lengths_of
from medsweep.sweep.progress import Progress
from medsweep.sweep.resolve import Resolved


def measure_cells(
    resolved: Resolved, cells: Sequence[Cell], folder: Path, metrics: LiveMetrics
) -> dict[str, str]:
    """Measure cells one after another, each after its adapter, where that is not there yet.

    Many jobs share the sweep's folder: this one writes below `cells/<key>/` of its own cells alone.

    Args:
        resolved: the sweep.
        cells: what to measure; those that are done are left as they are.
        folder: of the sweep's results.
        metrics: where what is measured is shown.

    Returns:
        The reason of each cell that failed, by its name.
    """
    spec, split, progress = resolved.spec, resolved.split, Progress()
    ground = Ground(
        spec=spec,
        folder=folder,
        pairs={pair.question_id: pair for pair in split.evaluation},
        lengths=lengths_of(split.train, split.evaluation),
        dataset_sha256=split.sha256,
        revisions=resolved.revisions,
        calibrations={},
        metrics=metrics,
        progress=progress,
    )
    missing = [cell for cell in cells if not ground.cell_folder(cell).done]
    if missing:
        progress.expect(_steps(resolved, ground, missing))
        concurrencies = sorted({concurrency_of(point.point()) for point in spec.load.points})
        ground.calibrations = {found.concurrency: found for found in calibrate(concurrencies)}
        with JoinedCluster() as cluster:
            for cell in missing:
                metrics.cells(spec.name, states(ground, cells))
                with exclusive(ground.cell_folder(cell).path):
                    _measure(resolved, ground, cluster, cell)
    metrics.cells(spec.name, states(ground, cells))
    records = {cell.name: ground.cell_folder(cell).record() for cell in cells}
    return {
        name: record["reason"] if record else "no result could be written"
        for name, record in records.items()
        if record is None or record["status"] == "failed"
    }


def states(ground: Ground, cells: Sequence[Cell]) -> dict[str, int]:
    """Return how many of the cells are in each state; one without a result is pending."""
    found = dict.fromkeys(("pending", "ok", "failed"), 0)
    for cell in cells:
        record = ground.cell_folder(cell).record()
        found[record["status"] if record else "pending"] += 1
    return found


def _measure(resolved: Resolved, ground: Ground, cluster: JoinedCluster, cell: Cell) -> None:
    adapter = resolved.plan.adapters[cell.adapter]
    place = adapter_folder(ground.folder, adapter)
    if not place.is_dir():
        failures = finetune_all(
            resolved, ground.folder, [adapter], cluster=cluster, progress=ground.progress
        )
        if failures:
            give_up(ground, cell, failures[cell.adapter])
            return
    try:
        cluster.ensure_nodes([cell.profile])
        # A pod begins with an empty cache, and the adapter names its base by a path in there.
        cluster.call_on_node(cell.profile, materialise, resolved.weights[cell.model.name])
    except MedSweepError as error:
        give_up(ground, cell, str(error))
        return
    measure_wave(ground, cluster, [cell], {cell.adapter: read_adapter(place)})


def _steps(resolved: Resolved, ground: Ground, cells: Sequence[Cell]) -> dict[str, int]:
    """Return how many steps of each kind are to come."""
    adapters = [resolved.plan.adapters[key] for key in {cell.adapter for cell in cells}]
    absent = [each for each in adapters if not adapter_folder(ground.folder, each).is_dir()]
    left = [
        visit
        for cell in cells
        for visit in ground.visits()
        if not ground.cell_folder(cell).has_visit(visit.name)
    ]
    return {"fine-tune": len(absent), "deploy": len(cells), "load": len(left)}
