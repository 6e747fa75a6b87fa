"""Submission step by step, against a stand-in of the client that only notes what it is told."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest

from apiserver.store import selected
from medsweep.errors import EnvironmentFault, InputError
from medsweep.hardware.catalog import PROFILES
from medsweep.k8s.capacity import Capacity, pool_gpus
from medsweep.k8s.conventions import GPU
from medsweep.k8s.resources import PODS, RAY_JOBS, Resource
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.submit import Submission, Task, tasks_of
from medsweep.k8s.table import SubmissionTable, eta_s, summary
from medsweep.k8s.watch import Change
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec
from support import make_spec
from terminal import Terminal

from .conftest import planned

Object = dict[str, Any]


class Notes:
    """What the client was told; nothing happens."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.deleted: list[str] = []
        self.there: list[Object] = []

    def objects(self, resource: Resource, namespace: str, selector: str) -> list[Object]:
        return [each for each in self.there if resource is PODS and selected(each, selector)]

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return next((each for each in self.there if each["metadata"]["name"] == name), None)

    def apply(self, resource: Resource, manifest: Object) -> Object:
        self.applied.append(manifest["metadata"]["name"])
        return copy.deepcopy(manifest)

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        self.deleted.append(name)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def tasks(paper: SweepSpec, plan: Plan, settings: ClusterSettings) -> list[Task]:
    return tasks_of(paper, plan, settings)


def start(notes: Notes, tasks: list[Task], max_jobs: int = 100, **rest: Any) -> Submission:
    changes = rest.pop("changes", [])
    submission = Submission(notes, "n", tasks, Capacity(max_jobs, rest.pop("gpus", None)), **rest)  # type: ignore[arg-type]
    submission.begin(changes)
    return submission


def told(task: Task, state: str, **status: str) -> Change:
    job = task.manifest()
    job["status"] = {"jobDeploymentStatus": state, **status}
    return Change(RAY_JOBS, task.name, job)


def phases(submission: Submission) -> dict[str, str]:
    return {each.task.name: each.job.phase for each in submission.states}


def test_cells_wait_for_their_fine_tune_alone(notes: Notes, tasks: list[Task]) -> None:
    submission = start(notes, tasks)
    submission.submit()
    finetunes = [task for task in tasks if task.stage == "finetune"]
    assert sorted(notes.applied) == sorted(task.name for task in finetunes)
    notes.applied.clear()
    submission.take(told(finetunes[0], "Complete", jobStatus="SUCCEEDED"))
    submission.submit()
    ours = [task.name for task in tasks if task.needs == finetunes[0].name]
    assert sorted(notes.applied) == sorted(ours) != []
    assert submission.left == len(tasks) - 1


def test_no_more_jobs_than_there_is_room_for(notes: Notes, tasks: list[Task]) -> None:
    submission = start(notes, tasks, max_jobs=2)
    submission.submit()
    assert len(notes.applied) == 2
    first = next(task for task in tasks if task.name == notes.applied[0])
    submission.take(told(first, "Running", jobStatus="RUNNING"))
    assert submission.submit() == 0
    submission.take(told(first, "Complete", jobStatus="SUCCEEDED"))
    assert submission.submit() == 1


def test_a_pool_holds_as_many_jobs_as_it_has_gpus(notes: Notes, tasks: list[Task]) -> None:
    by_pool = {task.profile.labels[GPU]: task.profile.gpus for task in tasks}
    submission = start(notes, tasks, gpus=dict.fromkeys(by_pool, 2))
    submission.submit()
    at_work = dict.fromkeys(by_pool, 0)
    for task in tasks:
        if task.name in notes.applied:
            at_work[task.profile.labels[GPU]] += task.profile.gpus
    assert max(at_work.values()) == 2


def test_what_the_results_hold_is_not_submitted(notes: Notes, tasks: list[Task]) -> None:
    submission = start(notes, tasks, done={task.key for task in tasks})
    assert (submission.submit(), submission.left, notes.applied) == (0, 0, [])


def test_jobs_of_an_earlier_run_go_on_and_those_that_failed_are_tried_again(
    notes: Notes, tasks: list[Task]
) -> None:
    submission = Submission(notes, "n", tasks, Capacity(100))  # type: ignore[arg-type]
    running, failed = tasks[0], tasks[1]
    submission.begin([told(running, "Running"), told(failed, "Failed", message="no GPU")])
    assert notes.deleted == [failed.name]
    submission.submit()
    assert running.name not in notes.applied
    assert failed.name not in notes.applied, "its name is free only when it is gone"
    submission.take(told(failed, "Failed"))
    assert phases(submission)[failed.name] == "ending"
    submission.take(Change(RAY_JOBS, failed.name, None))
    submission.submit()
    assert failed.name in notes.applied


def test_a_failure_heard_before_its_pods_still_says_what_they_say(
    notes: Notes, tasks: list[Task]
) -> None:
    submission = start(notes, tasks)
    submission.submit()
    for task in tasks[:2]:
        labels = task.manifest()["metadata"]["labels"]
        ended = {"name": "ray-worker", "state": {"terminated": {"reason": "OOMKilled"}}}
        pod = {"metadata": {"name": f"{task.name}-w", "labels": labels}}
        notes.there.append({**pod, "status": {"containerStatuses": [ended]}})
    notes.there.pop()
    submission.take(told(tasks[0], "Failed", message="AppFailed"))
    submission.take(told(tasks[1], "Failed", message="AppFailed"))
    killed, other = (each.job for each in submission.states[:2])
    assert killed.reason == (
        f"{tasks[0].name}-w: it needed more memory than the profile has and was killed "
        "(OOMKilled) | AppFailed"
    )
    assert other.reason == "AppFailed"


def test_a_job_that_was_ending_is_made_again_and_one_that_was_running_is_not(
    notes: Notes, tasks: list[Task]
) -> None:
    ending, running = told(tasks[0], "Running"), told(tasks[1], "Running")
    assert ending.value is not None
    ending.value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    submission = start(notes, tasks, changes=[ending, running])
    submission.submit()
    notes.applied.clear()
    for change in (
        ending,
        Change(RAY_JOBS, ending.name, None),
        Change(RAY_JOBS, running.name, None),
    ):
        submission.take(change)
        submission.submit()
    assert notes.applied == [ending.name]
    assert phases(submission)[running.name] == "failed"


def test_a_job_that_someone_deletes_has_failed(notes: Notes, tasks: list[Task]) -> None:
    submission = start(notes, tasks)
    submission.submit()
    submission.take(told(tasks[0], "Running"))
    submission.take(Change(RAY_JOBS, tasks[0].name, None))
    (state,) = [each.job for each in submission.states if each.task is tasks[0]]
    assert state.phase == "failed"
    assert state.reason == "its RayJob was deleted by another client (running); submit again"
    needing = [each.job for each in submission.states if each.task.needs == tasks[0].name]
    assert {job.phase for job in needing} == {"failed"}
    assert all("its fine-tune failed: its RayJob was deleted" in str(job.reason) for job in needing)


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_operator_that_does_not_react_is_found(notes: Notes, tasks: list[Task]) -> None:
    clock = Clock()
    submission = start(notes, tasks, clock=clock)
    submission.submit()
    notes.there = [task.manifest() for task in tasks]
    clock.now = 29
    submission.check_operator()
    clock.now = 30
    with pytest.raises(EnvironmentFault, match="operator does not react: 3 RayJobs.*waited 30 s"):
        submission.check_operator()


def test_an_operator_that_reacted_in_this_run_may_restart(notes: Notes, tasks: list[Task]) -> None:
    clock = Clock()
    submission = start(notes, tasks, clock=clock)
    submission.submit()
    notes.there = [task.manifest() for task in tasks]
    clock.now = 29
    submission.take(told(tasks[0], "Initializing"))
    clock.now = 29 + 31
    submission.check_operator()
    reasons = {each.task.name: each.job.reason for each in submission.states if each.job.reason}
    assert len(reasons) == 2
    assert set(reasons.values()) == {"KubeRay's operator does not react"}
    submission.take(told(tasks[1], "Initializing"))
    assert submission.states[1].job.reason is None
    clock.now = 29 + 31 + 600
    with pytest.raises(EnvironmentFault, match="operator does not react: 1 RayJobs.*waited 600 s"):
        submission.check_operator()


def test_a_late_watch_is_not_taken_for_an_operator_that_is_down(
    notes: Notes, tasks: list[Task]
) -> None:
    clock = Clock()
    submission = start(notes, tasks, clock=clock)
    submission.submit()
    for task in tasks:
        job = told(task, "Running").value
        assert job is not None
        notes.there.append(job)
    for clock.now in (30, 60, 90, 120):
        submission.check_operator()
    assert list(phases(submission).values()).count("running") == 3


def test_a_job_that_is_never_deleted_shows_an_operator_that_is_down(
    notes: Notes, tasks: list[Task]
) -> None:
    clock = Clock()
    failed = told(tasks[0], "Failed")
    submission = start(notes, tasks[:1], clock=clock, changes=[failed])
    assert failed.value is not None
    notes.there = [failed.value]
    clock.now = 31
    with pytest.raises(EnvironmentFault, match=f"such as {tasks[0].name}"):
        submission.check_operator()


def test_the_summary_counts_and_estimates(notes: Notes, tasks: list[Task]) -> None:
    submission = start(notes, tasks)
    submission.submit()
    assert eta_s(submission.states) is None
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:10:00Z"}
    for task in tasks:
        if task.stage == "finetune":
            submission.take(told(task, "Complete", jobStatus="SUCCEEDED", **times))
    submission.submit()
    cells = [task for task in tasks if task.stage == "benchmark"]
    submission.take(told(cells[0], "Complete", jobStatus="SUCCEEDED", **times))
    submission.take(told(cells[1], "Running", startTime="2026-01-01T00:00:00Z"))
    assert eta_s(submission.states) == 600 * (len(cells) - 1)
    assert summary(submission.states).startswith(f"{len(tasks)} jobs: 1 running, ")
    assert "about" in summary(submission.states)


def test_plain_lines_are_written_at_changes_and_every_30_s(notes: Notes, tasks: list[Task]) -> None:
    out, now_s = io.StringIO(), 1000.0
    table, submission = SubmissionTable(out, now=lambda: now_s), start(notes, tasks)
    assert table.every_s == 30
    submission.submit()
    table.show(submission)
    lines = len(out.getvalue().splitlines())
    submission.take(told(tasks[0], "Initializing"))
    table.show(submission)
    assert len(out.getvalue().splitlines()) == lines, "it was starting before"
    submission.take(told(tasks[0], "Running"))
    table.show(submission)
    now_s += 29
    table.show(submission)
    running = f"finetune {tasks[0].what}: running"
    assert out.getvalue().splitlines()[lines:] == [f"[0/{len(tasks)}, 0 s] {running}"]
    now_s += 1
    table.show(submission)
    table.show(submission)
    (line,) = out.getvalue().splitlines()[lines + 1 :]
    assert line.startswith(f"[0/{len(tasks)}, 30 s] 1 running, "), "once"
    now_s += 15
    submission.take(told(tasks[0], "Complete", jobStatus="SUCCEEDED"))
    table.show(submission)
    (line,) = out.getvalue().splitlines()[lines + 2 :]
    assert line.startswith(f"[1/{len(tasks)}, 45 s] finetune {tasks[0].what}: done")


def test_on_a_terminal_one_table_is_drawn_over_and_over(
    notes: Notes, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "8")
    out = Terminal()
    table, submission = SubmissionTable(out), start(notes, tasks)
    table.show(submission)
    first = out.getvalue()
    screen = out.screen(60, 8)
    assert len(screen) == 8 - 3 + 2, "summary, five tasks and how many more"
    assert screen[0].startswith(f"[0/{len(tasks)}, ")
    assert screen[0].endswith(f"] {len(tasks)} waiting")
    table.show(submission)
    assert out.getvalue() == first, "not twice in a second"
    submission = start(notes, tasks, done={task.key for task in tasks})
    table.show(submission)
    assert len(out.screen(60, 8)) == len(screen), "it is drawn over the first"
    assert out.screen(60, 8)[0].startswith(f"[{len(tasks)}/{len(tasks)}, ")
    assert f"{len(tasks)} done" in out.screen(60, 8)[0]


def test_the_work_grows_with_the_tasks_and_no_faster(
    notes: Notes, tasks: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0
    admits = Capacity.admits

    def counted(self: Capacity, profile: Any) -> bool:
        nonlocal checks
        checks += 1
        return admits(self, profile)

    monkeypatch.setattr(Capacity, "admits", counted)
    many = [
        Task(f"t{n}", "benchmark", f"t{n}", f"k{n}", tasks[0].profile, None, tasks[0].manifest)
        for n in range(200)
    ]
    submission = start(notes, many, max_jobs=10)
    while submission.left:
        submission.submit()
        for each in submission.changed():
            if each.job.phase == "starting":
                job = told(many[0], "Complete").value
                submission.take(Change(RAY_JOBS, each.task.name, job))
    assert checks < 3 * len(many)


def test_a_pool_that_is_not_there_is_said_before_anything_starts() -> None:
    with pytest.raises(EnvironmentFault) as raised:
        Capacity(10, {"v100": 8, "a100": 1}).check(PROFILES.values())
    text = str(raised.value)
    assert "rtx8000 (has 0 GPUs, 1xrtx8000-1cpu needs 1)" in text
    assert "a100 (has 1 GPUs, 2xa100-4cpu needs 2)" in text
    assert "v100" not in text
    assert "--max-at-once" in text


def test_nodes_count_by_label_unless_they_are_cordoned() -> None:
    def node(gpus: str, **rest: Any) -> Object:
        labels = {GPU: "a100"}
        status = {"allocatable": {"nvidia.com/gpu": gpus}}
        return {"metadata": {"name": "x", "labels": labels}, "status": status, **rest}

    unlabelled = {"metadata": {"name": "y"}, "status": {}}
    cordoned = node("8", spec={"unschedulable": True})
    assert pool_gpus([node("8"), node("4"), cordoned, unlabelled]) == {"a100": 12}


def test_the_host_is_no_pool(settings: ClusterSettings) -> None:
    spec = make_spec(cells=["distilgpt2@host", "distilgpt2@1xv100-1cpu"])
    with pytest.raises(InputError, match="standin-distilgpt2@host: `host` is the machine that"):
        tasks_of(spec, planned(spec), settings)
