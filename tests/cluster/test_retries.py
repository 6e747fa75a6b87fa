"""What goes wrong with a job's pods, and how the job goes on: on another Ray cluster, or not."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apiserver.operator import Operator, Player
from apiserver.sandbox import Sandbox
from medsweep.hardware.observe import host_profile
from medsweep.k8s.conventions import CELL
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS
from medsweep.k8s.run import fetch_sweep, run_in_cluster, run_jobs
from medsweep.k8s.sweeps import selector_of
from medsweep.results.cells import CellFolder
from medsweep.results.object_store import RemoteStore, working_folder
from medsweep.results.store import read_rows
from medsweep.sweep.cell import Cell
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.resolve import resolve
from support import make_spec

Object = dict[str, Any]
Failure = Callable[[Operator, str], Object]

SPEC = make_spec(name="trial", cells=["distilgpt2@1xv100-1cpu"])


def killed_in_the_load(operator: Operator, cluster: str) -> Object:
    """The worker runs out of memory while it is measured; the driver then gives up."""
    job, _, _ = cluster.rpartition("-")
    operator.run(job)
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    container = {"name": "ray-worker", "image": "", "imageID": "", "ready": False}
    statuses = [{**container, "restartCount": 0, "state": ended}]
    operator.status(PODS, f"{cluster}-worker", {"containerStatuses": statuses})
    return {"reason": "AppFailed", "message": "the worker's node died"}


def evicted(operator: Operator, cluster: str) -> Object:
    job, _, _ = cluster.rpartition("-")
    operator.run(job)
    operator.status(PODS, f"{cluster}-worker", {"phase": "Failed", "reason": "Evicted"})
    return {"reason": "AppFailed", "message": "the worker's node died"}


def never_runs(operator: Operator, cluster: str) -> Object:
    """No node takes the worker until `preRunningDeadlineSeconds` has passed."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    status = {"phase": "Pending", "conditions": [{**condition, "message": message}]}
    operator.status(PODS, f"{cluster}-worker", status)
    return {"reason": "PreRunningDeadlineExceeded", "message": "The RayJob has passed the deadline"}


def takes_too_long(operator: Operator, cluster: str) -> Object:
    job, _, _ = cluster.rpartition("-")
    operator.run(job)
    return {"reason": "DeadlineExceeded", "message": "The RayJob has passed the deadline"}


class Story:
    """A sweep's run, with the failures of each stage."""

    def __init__(self, cluster: Sandbox, **failures: list[Failure]) -> None:
        self.cluster, self.failures = cluster, failures
        self.manifests: dict[str, Object] = {}

    def play(self, operator: Operator, job: Object) -> None:
        stage = job["metadata"]["name"].partition("-")[0]
        self.manifests[stage] = job
        operator.attempt(job, *self.failures.get(stage, []))

    def run(self, **settings: Any) -> tuple[dict[str, str], str]:
        """Return the phase of each stage, and what the client printed."""
        plan = make_plan(SPEC, "d" * 64, dict.fromkeys(model_names(SPEC), "r"), host_profile())
        out = io.StringIO()
        given = self.cluster.settings.model_copy(update=settings)
        with Player(self.cluster.operator, selector_of(SPEC.name), self.play):
            states = run_jobs(self.cluster.api, SPEC, plan, given, out=out)
        phases = {each.task.name.partition("-")[0]: each.job.phase for each in states}
        return phases, out.getvalue()

    def clusters(self, stage: str) -> list[str]:
        """Return the ends of the names of a stage's Ray clusters that are still there."""
        found = self.cluster.api.objects(RAY_CLUSTERS, self.cluster.namespace)
        names = [each["metadata"]["name"] for each in found]
        return [name.rpartition("-")[2] for name in names if name.startswith(stage)]


@pytest.mark.parametrize("failure", [killed_in_the_load, evicted, never_runs])
def test_a_job_that_fails_once_is_done_on_another_cluster(
    failure: Failure, cluster: Sandbox
) -> None:
    story = Story(cluster, bm=[failure])
    phases, _ = story.run()
    assert phases == {"ft": "done", "bm": "done"}
    assert story.manifests["bm"]["spec"]["backoffLimit"] == 1
    assert story.clusters("bm") == ["try1"], "the first one is gone"
    (job,) = (
        each
        for each in cluster.api.objects(RAY_JOBS, cluster.namespace)
        if each["metadata"]["name"].startswith("bm")
    )
    assert job["metadata"]["uid"] == story.manifests["bm"]["metadata"]["uid"]
    assert job["status"]["failed"] == 1


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_retries_end_at_the_limit_with_the_last_reason(limit: int, cluster: Sandbox) -> None:
    failures = [killed_in_the_load] * limit + [evicted]
    story = Story(cluster, bm=[*failures, evicted, evicted])
    phases, text = story.run(backoff_limit=limit)
    assert phases == {"ft": "done", "bm": "failed"}
    assert story.clusters("bm") == [f"try{limit}"]
    last = [line for line in text.splitlines() if ": failed" in line]
    assert len(last) == 1, "the client reports the end, not each attempt"
    assert "its node ran short of a resource and evicted it" in last[0]
    assert "AppFailed: the worker's node died" in last[0]
    assert "OOMKilled" not in last[0]


def test_a_deadline_ends_a_job_that_no_node_takes(cluster: Sandbox) -> None:
    story = Story(cluster, ft=[never_runs, never_runs])
    phases, text = story.run(start_deadline_s=600)
    assert phases == {"ft": "failed", "bm": "failed"}
    assert story.manifests["ft"]["spec"]["preRunningDeadlineSeconds"] == 600
    failed = next(line for line in text.splitlines() if "finetune" in line and ": failed" in line)
    assert "no node can run it (Unschedulable): 0/3 nodes are available" in failed
    assert "PreRunningDeadlineExceeded" in failed
    assert "its fine-tune failed" in text
    assert "bm" not in story.manifests, "nothing is measured without the adapter"


def test_a_job_that_takes_too_long_is_not_tried_again(cluster: Sandbox) -> None:
    story = Story(cluster, bm=[takes_too_long])
    phases, text = story.run()
    assert phases == {"ft": "done", "bm": "failed"}
    assert "DeadlineExceeded" in text
    assert story.clusters("bm") == ["try0"]


@pytest.mark.slow
def test_results_in_an_object_store_survive_a_worker_killed_in_the_load(
    cluster: Sandbox, bucket: str, tmp_path: Path
) -> None:
    """The first attempt keeps what it has; the second one measures; the client fetches that."""
    resolved = resolve(SPEC, here=False)
    (cell,) = resolved.plan.runnable
    place = f"{bucket}/{cluster.namespace}"
    update = {"results": place, "model_cache_claim": "medsweep-models"}
    settings = cluster.settings.model_copy(update=update)

    def cut_short(operator: Operator, name: str) -> Object:
        with contextlib.suppress(InterruptedError), working_folder(place, "trial") as folder:
            begun = folder / "cells" / cell.key
            begun.mkdir(parents=True)
            (begun / "events.txt").write_bytes(b"half of it")
            raise InterruptedError
        pushed_too_early.extend(RemoteStore(f"{place}/trial").digests(f"cells/{cell.key}"))
        return killed_in_the_load(operator, name)

    def measure() -> None:
        with working_folder(place, "trial") as folder:
            done = folder / "cells" / cell.key
            done.mkdir(parents=True)
            (done / "events.txt").write_bytes(b"all of it")
            CellFolder(done).finish("ok", None, [row_of(cell)])

    def play(operator: Operator, job: Object) -> None:
        commands.append(job["spec"]["entrypoint"])
        if CELL in job["metadata"]["labels"]:
            operator.attempt(job, cut_short, work=measure)
        else:
            operator.attempt(job)

    pushed_too_early: list[str] = []
    commands: list[str] = []
    with Player(cluster.operator, selector_of("trial"), play):
        summary = run_in_cluster(lambda: cluster.api, resolved, settings, tmp_path)
    assert (summary.states, summary.failures) == ({"ok": 1}, {})
    assert pushed_too_early == []
    assert [f"--out {place}" in command for command in commands] == [True, True]
    (measured,) = read_rows(tmp_path / "trial" / "benchmark.parquet")
    assert (measured["key"], measured["status"]) == (cell.key, "ok")

    def connect() -> Any:
        raise AssertionError("nobody needs the API server")

    again = fetch_sweep(connect, resolved, settings, tmp_path / "elsewhere")
    assert again.states == {"ok": 1}


def row_of(cell: Cell) -> Object:
    return {
        "sweep": SPEC.name,
        "cell": cell.name,
        "key": cell.key,
        "model": cell.model.name,
        "profile": cell.profile.name,
        "load_point": "c1",
        "repeat": 1,
        "variant": "adapter",
        "basis": "emulated",
        "basis_reason": "no GPU is here",
        "status": "ok",
        "requests_per_s": 1.0,
        "ttft_mean_s": 0.1,
    }
