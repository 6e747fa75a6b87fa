"""Run a sweep in a cluster: submit the missing cells, wait, fetch the results, write the report."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TextIO

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.capacity import WINDOW, Capacity, pool_gpus
from medsweep.k8s.client import Api
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.resources import NODES
from medsweep.k8s.settings import RESULTS_MOUNT, ClusterSettings
from medsweep.k8s.submit import Submission, TaskState, tasks_of
from medsweep.k8s.sweeps import selector_of
from medsweep.k8s.table import SubmissionTable
from medsweep.k8s.watch import sweep_feed
from medsweep.results.cells import CellFolder
from medsweep.results.store import private
from medsweep.sweep.collect import RunSummary, gather
from medsweep.sweep.plan import Plan
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec


def run_in_cluster(
    connect: Callable[[], Api],
    resolved: Resolved,
    settings: ClusterSettings,
    out: Path,
    *,
    max_jobs: int | None = None,
) -> RunSummary:
    """Run the cells without a result, here or in the object store, and write the sweep's results.

    Args:
        connect: returns the API server; not called if nothing is missing.
        resolved: the sweep.
        settings: of the cluster.
        out: local parent of the sweep's folder.
        max_jobs: jobs at once; see `run_jobs`.

    Raises:
        EnvironmentFault: the cluster refuses, or results cannot be fetched.
    """
    spec, plan = resolved.spec, resolved.plan
    folder = (out / spec.name).resolve()
    with private(folder, applies=not spec.dataset.is_public):
        keys = [cell.key for cell in plan.runnable]
        fetched = 0
        if settings.results_claim is None:
            fetched = fetch_cells(connect, settings, spec.name, keys, folder)
        missing = [
            cell for cell in plan.runnable if not CellFolder(folder / "cells" / cell.key).done
        ]
        reasons: dict[str, str] = {}
        if missing:
            needed = {cell.key for cell in missing} | {cell.adapter for cell in missing}
            done = {*keys, *plan.adapters} - needed
            states = run_jobs(connect(), spec, plan, settings, max_jobs=max_jobs, done=done)
            reasons = {
                each.task.what: each.job.reason or ""
                for each in states
                if each.job.phase == "failed"
            }
            if _is_claim(out, settings):
                cells = [CellFolder(folder / "cells" / cell.key) for cell in missing]
                fetched += sum(cell.done for cell in cells)
            else:
                fetched += fetch_cells(connect, settings, spec.name, keys, folder)
        return gather(resolved, out, reasons, fetched)


def _is_claim(out: Path, settings: ClusterSettings) -> bool:
    """Whether the folder is the jobs' own claim, as in the chart's controller: nothing to fetch."""
    return settings.results_claim is not None and str(out) == RESULTS_MOUNT and out.is_mount()


def fetch_sweep(
    connect: Callable[[], Api], resolved: Resolved, settings: ClusterSettings, out: Path
) -> RunSummary:
    """Fetch the cells that are done, and write the sweep's results.

    Args:
        connect: returns the API server; called only if the results are on a claim.
        resolved: the sweep.
        settings: of the cluster.
        out: local parent of the sweep's folder.

    Raises:
        EnvironmentFault: results cannot be fetched.
    """
    keys = [cell.key for cell in resolved.plan.runnable]
    folder = (out / resolved.spec.name).resolve()
    with private(folder, applies=not resolved.spec.dataset.is_public):
        fetched = fetch_cells(connect, settings, resolved.spec.name, keys, folder)
        return gather(resolved, out, {}, fetched)


def run_jobs(
    api: Api,
    spec: SweepSpec,
    plan: Plan,
    settings: ClusterSettings,
    *,
    max_jobs: int | None = None,
    done: Collection[str] = (),
    out: TextIO | None = None,
) -> list[TaskState]:
    """Submit a sweep's jobs and wait until every one is done or has failed.

    Args:
        api: the API server.
        spec: the sweep.
        plan: its cells.
        settings: of the cluster.
        max_jobs: jobs at once; None leaves it to Kueue, or without a queue to the pools' GPUs.
        done: keys of cells and adapters whose results exist already.
        out: stream for progress; None means standard error.

    Raises:
        EnvironmentFault: the cluster refuses.
        InputError: no cell of the plan can run in a cluster.
    """
    tasks = tasks_of(spec, plan, settings)
    if not tasks:
        raise InputError(f"{spec.name}: no cell can run; see `medsweep plan`")
    capacity = _capacity(api, settings, max_jobs)
    capacity.check(task.profile for task in tasks if task.key not in done)
    table = SubmissionTable(out)
    submission = Submission(api, settings.namespace, tasks, capacity, done)
    feed = sweep_feed(
        api, settings.namespace, selector_of(spec.name), queued=settings.queue is not None
    )
    with feed:
        submission.run(feed, table.show, table.every_s)
    return submission.states


def _capacity(api: Api, settings: ClusterSettings, max_jobs: int | None) -> Capacity:
    if max_jobs is not None:
        return Capacity(max_jobs)
    if settings.queue is not None:
        return Capacity(WINDOW)
    try:
        return Capacity(WINDOW, pool_gpus(api.objects(NODES, "")))
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"cannot count how many jobs the node pools hold ({error}); give the number with "
            "--max-at-once, or set `queue` in the cluster settings"
        ) from None
