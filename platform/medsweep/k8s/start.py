"""From a resolved sweep to its jobs in a cluster: the one way in, for `k8s submit` and `run`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TextIO

from medsweep.errors import EnvironmentFault, InputError
from medsweep.k8s.capacity import WINDOW, Room, pool_gpus
from medsweep.k8s.client import Api
from medsweep.k8s.feed import sweep_feed
from medsweep.k8s.resources import NODES
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.submit import Submission, TaskState
from medsweep.k8s.sweeps import selector_of
from medsweep.k8s.table import REDRAW_S, Table
from medsweep.k8s.tasks import tasks_of
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec


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
        submission.run(feed, table.show, REDRAW_S if table.live else None)
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
