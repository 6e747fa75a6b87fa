"""Run a sweep: resolve, plan, fine-tune, serve, load, score, store, report."""

from __future__ import annotations

from pathlib import Path

from medsweep.cluster.local import LocalCluster
from medsweep.finetune.adapter import read_adapter
from medsweep.loadgen.calibrate import Calibration, calibrate
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.store import exclusive
from medsweep.sweep.collect import Summary, write_results, write_spec
from medsweep.sweep.finetune import adapter_folder, finetune_all
from medsweep.sweep.measure import Ground, concurrency_of, give_up, measure_wave
from medsweep.sweep.plan import Plan, waves
from medsweep.sweep.predict import lengths_of
from medsweep.sweep.progress import Progress
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec


def run_sweep(resolved: Resolved, out: Path, *, metrics_port: int = 0) -> Summary:
    """Run what is not done yet, and write the results of all.

    Args:
        resolved: the sweep.
        out: parent of the sweep's folder.
        metrics_port: TCP port of the live metrics; 0 takes a free one.

    Raises:
        EnvironmentFault: another run is at work there, a port is in use, no space is left.
    """
    # Absolute, because Ray's workers run in folders of their own.
    folder = (out / resolved.spec.name).resolve()
    with exclusive(folder):
        write_spec(resolved.spec, folder)
        measured = _run_missing(resolved, folder, metrics_port)
        return write_results(resolved, folder, measured)


def _run_missing(resolved: Resolved, folder: Path, metrics_port: int) -> int:
    """Measure the cells that have no result; return how many were."""
    spec, plan = resolved.spec, resolved.plan
    progress = Progress()
    with LiveMetrics(metrics_port) as metrics:
        ground = Ground(
            spec,
            folder,
            {pair.question_id: pair for pair in resolved.split.evaluation},
            lengths_of(resolved.split.train, resolved.split.evaluation),
            resolved.split.sha256,
            resolved.revisions,
            {},
            metrics,
            progress,
        )
        missing = [cell for cell in plan.runnable if not ground.cell_folder(cell).done]
        _record_refused(ground, plan)
        done = len(plan.runnable) - len(missing)
        progress.note(
            f"{spec.name}: {len(plan.cells)} cells: {done} done earlier, "
            f"{len(missing)} to measure, {len(plan.cells) - len(plan.runnable)} refused; "
            f"dataset: {resolved.split.summary}"
        )
        if not missing:
            return 0
        progress.note(f"live metrics: {metrics.url}")
        wanted = [plan.adapters[key] for key in dict.fromkeys(cell.adapter for cell in missing)]
        absent = [each for each in wanted if not adapter_folder(folder, each).is_dir()]
        left = sum(
            not ground.cell_folder(cell).has_visit(visit.name)
            for cell in missing
            for visit in ground.visits()
        )
        progress.expect({"fine-tune": len(absent), "deploy": len(missing), "load": left})
        ground.calibrations = _calibrations(spec)
        with LocalCluster() as cluster:
            failures = finetune_all(resolved, folder, absent, cluster=cluster, progress=progress)
            for cell in [cell for cell in missing if cell.adapter in failures]:
                progress.skip("deploy", 1)
                give_up(ground, cell, failures[cell.adapter])
            ready = [cell for cell in missing if cell.adapter not in failures]
            adapters = {
                each.key: read_adapter(adapter_folder(folder, each))
                for each in wanted
                if each.key not in failures
            }
            for wave in waves(ready, spec.cells_together):
                metrics.cells(spec.name, _states(ground, plan))
                measure_wave(ground, cluster, wave, adapters)
        return sum(ground.cell_folder(cell).done for cell in missing)


def _states(ground: Ground, plan: Plan) -> dict[str, int]:
    """Return how many cells are in each state; one without a result is pending."""
    states = dict.fromkeys(("pending", "ok", "failed", "refused"), 0)
    for cell in plan.cells:
        record = ground.cell_folder(cell).record()
        states[record["status"] if record else "pending"] += 1
    return states


def _record_refused(ground: Ground, plan: Plan) -> None:
    for cell in plan.cells:
        if cell.refused is not None:
            row = {
                **ground.columns(cell),
                "basis": "predicted",
                "status": "refused",
                "reason": cell.refused,
            }
            ground.cell_folder(cell).finish("refused", cell.refused, [row])


def _calibrations(spec: SweepSpec) -> dict[int, Calibration]:
    concurrencies = sorted({concurrency_of(point.point()) for point in spec.load.points})
    return {found.concurrency: found for found in calibrate(concurrencies)}
