"""Walk a plan through a cluster: submit what has a place, watch, submit what became possible.

What is done is known from the cluster and from the results, never from here: the same command
after a crash finds its jobs by name and goes on.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial

from medsweep.errors import InputError
from medsweep.hardware.observe import HOST
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.capacity import Room
from medsweep.k8s.client import Api, Object
from medsweep.k8s.conventions import GPU, Stage, object_name
from medsweep.k8s.render import benchmark_job, finetune_job
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.state import ACTIVE, JobState, Seen, selector_of_parts
from medsweep.k8s.watch import Change, Feed
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec

OVER = ("done", "failed")


@dataclass(frozen=True)
class Task:
    """One job that is to be done.

    Attributes:
        name: of its RayJob.
        stage: finetune or benchmark.
        what: for a person: `model` or `model@profile`.
        key: of the adapter or the cell.
        profile: where it runs.
        needs: name of the task that must be done before; None for none.
        manifest: renders its RayJob; called when it is submitted, not before.
    """

    name: str
    stage: Stage
    what: str
    key: str
    profile: HardwareProfile
    needs: str | None
    manifest: Callable[[], Object]


def tasks_of(spec: SweepSpec, plan: Plan, settings: ClusterSettings) -> list[Task]:
    """Return the tasks of a plan, each after what it needs.

    Raises:
        InputError: cells of it run on no pool.
    """
    here = [cell.name for cell in plan.runnable if cell.profile.name == HOST]
    if here:
        raise InputError(
            f"{', '.join(here)}: `{HOST}` is the machine that MedSweep runs on, not a pool of a "
            "cluster; leave it out of `cells`, or run it with `medsweep run`"
        )
    tasks: list[Task] = []
    made: dict[str, str] = {}
    for adapter in plan.adapters.values():
        name = object_name(
            "finetune", spec.name, adapter.model.name, adapter.profile.name, adapter.key
        )
        made[adapter.key] = name
        tasks.append(
            Task(
                name,
                "finetune",
                adapter.model.name,
                adapter.key,
                adapter.profile,
                None,
                partial(finetune_job, spec, adapter, settings),
            )
        )
    return tasks + [
        Task(
            object_name("benchmark", spec.name, cell.model.name, cell.profile.name, cell.key),
            "benchmark",
            cell.name,
            cell.key,
            cell.profile,
            made[cell.adapter],
            partial(benchmark_job, spec, cell, settings),
        )
        for cell in plan.runnable
    ]


@dataclass(frozen=True)
class TaskState:
    """One task and where it is.

    Attributes:
        task: what is to be done.
        job: what the cluster says of it.
    """

    task: Task
    job: JobState


class Submission:
    """The tasks of one sweep on their way through a cluster.

    Args:
        api: the API server.
        namespace: where the jobs are made.
        tasks: each after what it needs.
        room: how many at once.
        done: keys of cells and adapters that the results hold already.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        tasks: Iterable[Task],
        room: Room,
        done: Collection[str] = (),
    ) -> None:
        self._api, self._namespace, self._room = api, namespace, room
        self._tasks = {task.name: task for task in tasks}
        self._seen = Seen()
        self._states = {
            task.name: JobState(
                task.name,
                task.stage,
                task.key,
                task.profile.name,
                "done" if task.key in done else "waiting",
            )
            for task in self._tasks.values()
        }
        self._ready: dict[str, deque[Task]] = defaultdict(deque)
        self._blocked: dict[str, list[Task]] = defaultdict(list)
        self._placed: set[str] = set()
        self._deleting: set[str] = set()
        self._changed: dict[str, None] = {}
        self._left = sum(state.phase not in OVER for state in self._states.values())

    @property
    def left(self) -> int:
        """Tasks that are not over."""
        return self._left

    @property
    def states(self) -> list[TaskState]:
        """Every task, in the order of the plan."""
        return [TaskState(task, self._states[name]) for name, task in self._tasks.items()]

    def changed(self) -> list[TaskState]:
        """Return the tasks whose state changed since this was asked last."""
        names, self._changed = self._changed, {}
        return [TaskState(self._tasks[name], self._states[name]) for name in names]

    def run(self, feed: Feed, show: Callable[[Submission], None], redraw_s: float | None) -> None:
        """Submit and watch until every task is over.

        Args:
            feed: what happens in the cluster.
            show: called after each change.
            redraw_s: call it at least so often; None only at changes.
        """
        self.begin(feed.ready())
        while True:
            self.submit()
            show(self)
            if not self._left:
                return
            for change in feed.wait(redraw_s):
                self.take(change)

    def begin(self, changes: Iterable[Change]) -> None:
        """Find what there is: jobs of an earlier run go on, those that failed are tried again."""
        for change in changes:
            self._seen.put(change.resource, change.name, change.value)
        for name, task in self._tasks.items():
            if self._states[name].phase == "done":
                continue
            if self._seen.job(name) is not None:
                found = self._seen.state(name)
                if found.phase == "failed":
                    self._api.delete(RAY_JOBS, self._namespace, name)
                    self._seen.put(RAY_JOBS, name, None)
                    found = replace(found, phase="ending", reason="failed before; tried again")
                if found.phase == "ending":
                    self._deleting.add(name)
                self._set(name, found)
            else:
                self._enqueue(task)

    def submit(self) -> int:
        """Submit what may start and has a place; return how many."""
        count = 0
        for waiting in self._ready.values():
            while waiting and self._room.admits(waiting[0].profile):
                task = waiting.popleft()
                value = self._api.apply(RAY_JOBS, task.manifest())
                self._seen.put(RAY_JOBS, task.name, value)
                self._set(task.name, self._seen.state(task.name))
                count += 1
        return count

    def take(self, change: Change) -> None:
        """Take in one change."""
        name = self._seen.put(change.resource, change.name, change.value)
        if name is None or name not in self._tasks or self._states[name].phase in OVER:
            return
        if name in self._deleting and (change.resource is not RAY_JOBS or change.value):
            return  # the end of what failed before
        if self._seen.job(name) is not None:
            self._set(name, self._now(name))
        elif name in self._deleting:
            self._deleting.remove(name)
            self._set(name, replace(self._states[name], phase="waiting", reason=None))
            self._enqueue(self._tasks[name])
        else:
            before = self._states[name]
            reason = f"its RayJob was deleted by someone else ({before.phase}); submit again"
            self._set(name, replace(before, phase="failed", reason=reason))

    def _now(self, name: str) -> JobState:
        """Return a job's state; of one that failed, after a look at what its pods say.

        Each kind has a watch of its own: that a job failed may be heard before why its pod did.
        """
        state = self._seen.state(name)
        job = self._seen.job(name)
        if state.phase != "failed" or job is None:
            return state
        for resource in (PODS, RAY_CLUSTERS):
            for value in self._api.objects(resource, self._namespace, selector_of_parts(job)):
                self._seen.put(resource, value["metadata"]["name"], value)
        return self._seen.state(name)

    def _set(self, name: str, state: JobState) -> None:
        self._states[name] = state
        self._changed[name] = None
        self._place(name, wanted=state.phase in ACTIVE)
        if state.phase in OVER:
            self._left -= 1
            for blocked in self._blocked.pop(name, []):
                self._enqueue(blocked)

    def _place(self, name: str, *, wanted: bool) -> None:
        """Take a place in the room, or give it back."""
        profile = self._tasks[name].profile
        if wanted and name not in self._placed:
            self._placed.add(name)
            self._room.take(profile)
        elif not wanted and name in self._placed:
            self._placed.remove(name)
            self._room.free(profile)

    def _enqueue(self, task: Task) -> None:
        """Let a task wait for a place, or for what it needs; give up where that failed."""
        needed = self._states.get(task.needs) if task.needs else None
        if needed is None or needed.phase == "done":
            self._ready[task.profile.labels[GPU]].append(task)
        elif needed.phase == "failed":
            reason = f"its fine-tune failed: {needed.reason}"
            self._set(task.name, replace(self._states[task.name], phase="failed", reason=reason))
        else:
            self._blocked[needed.name].append(task)
