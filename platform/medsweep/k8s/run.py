"""A whole sweep in a cluster: what is missing is submitted, waited for, brought here, reported."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TextIO

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.capacity import WINDOW, Room, pool_gpus
from medsweep.k8s.client import Api
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.resources import NODES
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.submit import Submission, TaskState, tasks_of
from medsweep.k8s.sweeps import selector_of
from medsweep.k8s.table import REDRAW_S, Table
from medsweep.k8s.watch import sweep_feed
from medsweep.results.cells import CellFolder
from medsweep.sweep.collect import Summary
from medsweep.sweep.gather import gather
from medsweep.sweep.plan import Plan
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec


def run_in_cluster(
    find: Callable[[], Api],
    resolved: Resolved,
    settings: ClusterSettings,
    out: Path,
    *,
    most: int | None = None,
) -> Summary:
    """Run what has no result yet, here or in the object store, and write the results of all.

    Args:
        find: the API server; not asked for where nothing is missing.
        resolved: the sweep.
        settings: of the cluster.
        out: parent of the sweep's folder here.
        most: jobs at once; see `run_jobs`.

    Raises:
        EnvironmentFault: the cluster will not do it, or results cannot be brought.
    """
    spec, plan = resolved.spec, resolved.plan
    folder = (out / spec.name).resolve()
    keys = [cell.key for cell in plan.runnable]
    came = 0
    if settings.results_claim is None:
        came = fetch_cells(find, settings, spec.name, keys, folder)
    missing = [cell for cell in plan.runnable if not CellFolder(folder / "cells" / cell.key).done]
    reasons: dict[str, str] = {}
    if missing:
        wanted = {cell.key for cell in missing} | {cell.adapter for cell in missing}
        done = {*keys, *plan.adapters} - wanted
        states = run_jobs(find(), spec, plan, settings, most=most, done=done)
        reasons = {
            each.task.what: each.job.reason or "" for each in states if each.job.phase == "failed"
        }
        came += fetch_cells(find, settings, spec.name, keys, folder)
    return gather(resolved, out, reasons, came)


def fetch_sweep(
    find: Callable[[], Api], resolved: Resolved, settings: ClusterSettings, out: Path
) -> Summary:
    """Bring the cells that are done, and write the results of all.

    Args:
        find: the API server; asked for with a claim alone.
        resolved: the sweep.
        settings: of the cluster.
        out: parent of the sweep's folder here.

    Raises:
        EnvironmentFault: results cannot be brought.
    """
    keys = [cell.key for cell in resolved.plan.runnable]
    folder = (out / resolved.spec.name).resolve()
    came = fetch_cells(find, settings, resolved.spec.name, keys, folder)
    return gather(resolved, out, {}, came)


def run_jobs(
    api: Api,
    spec: SweepSpec,
    plan: Plan,
    settings: ClusterSettings,
    *,
    most: int | None = None,
    done: Collection[str] = (),
    out: TextIO | None = None,
) -> list[TaskState]:
    """Submit a sweep's jobs and wait until all are over.

    Args:
        api: the API server.
        spec: the sweep.
        plan: its cells.
        settings: of the cluster.
        most: jobs at once; None leaves it to Kueue, or without a queue to the pools' GPUs.
        done: keys of cells and adapters that the results hold already.
        out: where progress is shown; None is standard error.

    Raises:
        EnvironmentFault: the cluster will not do it.
        InputError: nothing of the plan can run there.
    """
    tasks = tasks_of(spec, plan, settings)
    if not tasks:
        raise InputError(f"{spec.name}: no cell can run; see `medsweep plan`")
    room = _room(api, settings, most)
    room.check(task.profile for task in tasks if task.key not in done)
    table = Table(out)
    submission = Submission(api, settings.namespace, tasks, room, done)
    feed = sweep_feed(
        api, settings.namespace, selector_of(spec.name), queued=settings.queue is not None
    )
    with feed:
        submission.run(feed, table.show, REDRAW_S if table.is_terminal else None)
    return submission.states


def _room(api: Api, settings: ClusterSettings, most: int | None) -> Room:
    if most is not None:
        return Room(most)
    if settings.queue is not None:
        return Room(WINDOW)
    try:
        return Room(WINDOW, pool_gpus(api.objects(NODES, "")))
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"how many jobs the pools hold cannot be seen ({error}); say it with --max-at-once, "
            "or give the cluster settings a `queue`"
        ) from None
