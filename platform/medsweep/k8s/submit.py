"""Run the jobs of a plan in a cluster: submit those that fit, watch them, submit the next.

Progress is known only from the cluster and the results: after a crash, the same command finds its
jobs by name and continues.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial

from medsweep.errors import EnvironmentFault, InputError
from medsweep.hardware.observe import HOST
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.capacity import Capacity
from medsweep.k8s.client import Api, Object
from medsweep.k8s.conventions import FIND_OPERATOR, GPU, Stage, object_name
from medsweep.k8s.render import benchmark_job, finetune_job
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.state import ACTIVE, JobState, SweepObjects, is_answered, selector_of_parts
from medsweep.k8s.watch import Change, Feed
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec

OVER = ("done", "failed")

OPERATOR_TIMEOUT_S, OPERATOR_PATIENCE_S = 30.0, 600.0
"""How long to wait for an operator that has not reacted in this run, and for one that has and may
be restarting: a healthy one gives a RayJob a status, and removes a finalizer, within seconds."""

_SILENT = "KubeRay's operator does not react"


@dataclass(frozen=True)
class Task:
    """One job of a plan.

    Attributes:
        name: of its RayJob.
        stage: finetune or benchmark.
        what: name for people: `model` or `model@profile`.
        key: of the adapter or the cell.
        profile: hardware profile that it runs on.
        needs: name of the task that must be done first; None if there is none.
        manifest: renders its RayJob, when it is submitted.
    """

    name: str
    stage: Stage
    what: str
    key: str
    profile: HardwareProfile
    needs: str | None
    manifest: Callable[[], Object]


def tasks_of(spec: SweepSpec, plan: Plan, settings: ClusterSettings) -> list[Task]:
    """Return the tasks of a plan, each after the task that it needs.

    Raises:
        InputError: some cells cannot run on a node pool.
    """
    local = [cell.name for cell in plan.runnable if cell.profile.name == HOST]
    if local:
        raise InputError(
            f"{', '.join(local)}: `{HOST}` is the machine that MedSweep runs on, not a node pool; "
            "leave it out of `cells`, or run it with `medsweep run`"
        )
    if plan.servers:
        names = ", ".join(cell.name for cell in plan.servers)
        raise InputError(
            f"{names}: an external server is measured from the machine that MedSweep runs on; "
            "leave it out of `cells`, or run the sweep with `medsweep run`"
        )
    tasks: list[Task] = []
    finetunes: dict[str, str] = {}
    for adapter in plan.adapters.values():
        name = object_name(
            "finetune", spec.name, adapter.model.name, adapter.profile.name, adapter.key
        )
        finetunes[adapter.key] = name
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
            finetunes[cell.adapter],
            partial(benchmark_job, spec, cell, settings),
        )
        for cell in plan.runnable
    ]


@dataclass(frozen=True)
class TaskState:
    """One task and its state.

    Attributes:
        task: the task.
        job: state of its job in the cluster.
    """

    task: Task
    job: JobState


class Submission:
    """Submits the tasks of one sweep and follows their state.

    Args:
        api: the API server.
        namespace: of the jobs.
        tasks: each after the task that it needs.
        capacity: limits the jobs that run at once.
        done: keys of cells and adapters whose results exist already.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        tasks: Iterable[Task],
        capacity: Capacity,
        done: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._capacity = api, namespace, capacity
        self._tasks = {task.name: task for task in tasks}
        self._objects = SweepObjects()
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
        self._counted: set[str] = set()  # by the capacity
        self._deleting: set[str] = set()
        self._clock = clock
        self._unanswered: set[str] = set()  # jobs that wait for the operator's first reaction
        self._unanswered_since = 0.0
        self._operator_reacted = False
        self._changed: dict[str, None] = {}
        self._left = sum(state.phase not in OVER for state in self._states.values())

    @property
    def total(self) -> int:
        """Number of tasks."""
        return len(self._tasks)

    @property
    def left(self) -> int:
        """Number of tasks that are neither done nor failed."""
        return self._left

    @property
    def states(self) -> list[TaskState]:
        """Every task, in the order of the plan."""
        return [TaskState(task, self._states[name]) for name, task in self._tasks.items()]

    def changed(self) -> list[TaskState]:
        """Return the tasks whose state has changed since the last call."""
        names, self._changed = self._changed, {}
        return [TaskState(self._tasks[name], self._states[name]) for name in names]

    def run(self, feed: Feed, show: Callable[[Submission], None], every_s: float) -> None:
        """Submit and watch until every task is done or has failed.

        Args:
            feed: changes in the cluster.
            show: called after each change.
            every_s: longest time between two calls of `show`.
        """
        self.begin(feed.ready())
        while True:
            self.submit()
            show(self)
            if not self._left:
                return
            for change in feed.wait(self._timeout(every_s)):
                self.take(change)
            self.check_operator()

    def check_operator(self) -> None:
        """Check that KubeRay's operator reacts to what is created and deleted.

        Raises:
            EnvironmentFault: it has not reacted to anything for too long.
        """
        waited = self._clock() - self._unanswered_since
        if not self._unanswered or waited < OPERATOR_TIMEOUT_S:
            return
        name = min(self._unanswered)
        # The watch may be late: it waits where the API server is away for a while.
        job = self._api.get(RAY_JOBS, self._namespace, name)
        if job is None or (name not in self._deleting and is_answered(job)):
            self.take(Change(RAY_JOBS, name, job))
            return
        if self._operator_reacted and waited < OPERATOR_PATIENCE_S:
            for name in self._unanswered:
                self._set(name, replace(self._states[name], reason=_SILENT))
            return
        raise EnvironmentFault(
            f"KubeRay's operator does not react: {len(self._unanswered)} RayJobs in namespace "
            f"{self._namespace} have waited {waited:.0f} s for it, such as {name}; "
            f"start it ({FIND_OPERATOR}) and run the same command, which finds these jobs again"
        )

    def _timeout(self, every_s: float) -> float:
        """Return how long to wait for changes: until the next redraw or check, in seconds."""
        if not self._unanswered:
            return every_s
        waited = self._clock() - self._unanswered_since
        limit = OPERATOR_TIMEOUT_S if waited < OPERATOR_TIMEOUT_S else OPERATOR_PATIENCE_S
        return min(max(limit - waited, 0.01), every_s)

    def _await_operator(self, name: str) -> None:
        """Note that the operator has to react to a job."""
        if not self._unanswered:
            self._unanswered_since = self._clock()
        self._unanswered.add(name)

    def _hear_operator(self, name: str) -> None:
        """Note that the operator has reacted to a job; the others get their time anew."""
        if name in self._unanswered:
            self._unanswered.remove(name)
            self._unanswered_since = self._clock()
            self._operator_reacted = True

    def begin(self, changes: Iterable[Change]) -> None:
        """Adopt the jobs of an earlier run, and retry those that failed."""
        for change in changes:
            self._objects.put(change.resource, change.name, change.value)
        for name, task in self._tasks.items():
            if self._states[name].phase == "done":
                continue
            if self._objects.job(name) is not None:
                state = self._objects.state(name)
                if state.phase == "failed":
                    self._api.delete(RAY_JOBS, self._namespace, name)
                    self._objects.put(RAY_JOBS, name, None)
                    state = replace(state, phase="ending", reason="failed before; will be retried")
                if state.phase == "ending":
                    self._deleting.add(name)
                if state.phase == "ending" or not is_answered(self._objects.job(name)):
                    self._await_operator(name)
                self._set(name, state)
            else:
                self._enqueue(task)

    def submit(self) -> int:
        """Submit the ready tasks that fit; return how many."""
        count = 0
        for waiting in self._ready.values():
            while waiting and self._capacity.admits(waiting[0].profile):
                task = waiting.popleft()
                value = self._api.apply(RAY_JOBS, task.manifest())
                self._objects.put(RAY_JOBS, task.name, value)
                self._set(task.name, self._objects.state(task.name))
                if not is_answered(value):
                    self._await_operator(task.name)
                count += 1
        return count

    def take(self, change: Change) -> None:
        """Process one change."""
        name = self._objects.put(change.resource, change.name, change.value)
        if name is None or name not in self._tasks or self._states[name].phase in OVER:
            return
        if name in self._deleting and (change.resource is not RAY_JOBS or change.value):
            return  # an object of the job that is being deleted
        if change.resource is RAY_JOBS and is_answered(change.value):
            self._hear_operator(name)
        if self._objects.job(name) is not None:
            self._set(name, self._current(name))
        elif name in self._deleting:
            self._deleting.remove(name)
            self._set(name, replace(self._states[name], phase="waiting", reason=None))
            self._enqueue(self._tasks[name])
        else:
            before = self._states[name]
            reason = f"its RayJob was deleted by another client ({before.phase}); submit again"
            self._set(name, replace(before, phase="failed", reason=reason))

    def _current(self, name: str) -> JobState:
        """Return a job's state; if it failed, list its pods first.

        Each kind has its own watch, so a job's failure may arrive before the reason of its pod.
        """
        state = self._objects.state(name)
        job = self._objects.job(name)
        if state.phase != "failed" or job is None:
            return state
        for resource in (PODS, RAY_CLUSTERS):
            for value in self._api.objects(resource, self._namespace, selector_of_parts(job)):
                self._objects.put(resource, value["metadata"]["name"], value)
        return self._objects.state(name)

    def _set(self, name: str, state: JobState) -> None:
        self._states[name] = state
        self._changed[name] = None
        self._count(name, active=state.phase in ACTIVE)
        if state.phase in OVER:
            self._left -= 1
            for blocked in self._blocked.pop(name, []):
                self._enqueue(blocked)

    def _count(self, name: str, *, active: bool) -> None:
        """Count a job against the capacity, or stop counting it."""
        profile = self._tasks[name].profile
        if active and name not in self._counted:
            self._counted.add(name)
            self._capacity.acquire(profile)
        elif not active and name in self._counted:
            self._counted.remove(name)
            self._capacity.release(profile)

    def _enqueue(self, task: Task) -> None:
        """Queue a task until it fits and what it needs is done; fail it if that failed."""
        needed = self._states.get(task.needs) if task.needs else None
        if needed is None or needed.phase == "done":
            self._ready[task.profile.labels[GPU]].append(task)
        elif needed.phase == "failed":
            reason = f"its fine-tune failed: {needed.reason}"
            self._set(task.name, replace(self._states[task.name], phase="failed", reason=reason))
        else:
            self._blocked[needed.name].append(task)
