"""Teams in namespaces of their own: Kueue admits their jobs, and neither sees the other's."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.kueue import CLUSTER_QUEUES, FLAVORS, MANAGER, PODSET, Kueue, suspend_queued
from apiserver.operator import Operator, Player
from apiserver.sandbox import Object, Sandbox, sandbox
from apiserver.server import ApiServer
from crds import ROOT
from medsweep.errors import EnvironmentFault
from medsweep.hardware.observe import host_profile
from medsweep.k8s.client import connect
from medsweep.k8s.doctor import examine
from medsweep.k8s.resources import (
    LOCAL_QUEUES,
    RAY_JOBS,
    WORKLOADS,
)
from medsweep.k8s.run import run_jobs
from medsweep.k8s.state import JobState
from medsweep.k8s.submit import tasks_of
from medsweep.k8s.sweeps import remove, selector_of, sweep_states
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec

OVERLAYS = ROOT / "k8s" / "overlays"
KINDS = {each.kind: each for each in (FLAVORS, CLUSTER_QUEUES, LOCAL_QUEUES)}


def queue_up(cluster: Sandbox) -> None:
    """Make the flavors and a team's queues, from the overlays, for this namespace."""
    for path in (OVERLAYS / "kueue" / "flavors.yaml", OVERLAYS / "team" / "queues.yaml"):
        text = path.read_text(encoding="utf-8").replace("team-a", cluster.namespace)
        for document in yaml.safe_load_all(text):
            cluster.api.apply(KINDS[document["kind"]], document)
    cluster.settings = cluster.settings.model_copy(update={"queue": "medsweep"})


@pytest.fixture
def teams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Sandbox, Sandbox, Kueue]]:
    """Two teams of a cluster with Kueue, each with its namespace, queue and quota."""
    with ApiServer(check=object_faults) as server:
        server.store.webhooks.append(suspend_queued)
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        api = connect()
        with installed(api, crd_documents(schemas=False)), sandbox(api) as a, sandbox(api) as b:
            queue_up(a)
            queue_up(b)
            yield a, b, Kueue(api, a.namespace, b.namespace)


def planned(spec: SweepSpec) -> Plan:
    return make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())


def benchmarks(cluster: Sandbox, name: str, *cells: str) -> list[Object]:
    """Apply the benchmarks of some cells, as the team's account; return the jobs by name."""
    spec = make_spec(name=name, cells=list(cells))
    controller = cluster.as_account("medsweep-controller")
    tasks = tasks_of(spec, planned(spec), cluster.settings)
    return [
        controller.apply(RAY_JOBS, task.manifest())
        for task in sorted(tasks, key=lambda task: task.name)
        if task.stage == "benchmark"
    ]


def anew(cluster: Sandbox, job: Object) -> Object:
    value = cluster.api.get(RAY_JOBS, cluster.namespace, job["metadata"]["name"])
    assert value is not None
    return value


def state_of(cluster: Sandbox, job: Object) -> JobState:
    sweep = job["metadata"]["labels"]["medsweep.io/sweep"]
    states = sweep_states(cluster.as_account("medsweep-controller"), cluster.namespace, sweep)
    return next(each for each in states if each.name == job["metadata"]["name"])


def test_a_job_waits_for_quota_is_evicted_and_done_at_last(
    teams: tuple[Sandbox, Sandbox, Kueue],
) -> None:
    team, neighbour, kueue = teams
    cells = ("distilgpt2@2xv100-4cpu", "gemma-1.1-7b@2xv100-4cpu")
    occupants = benchmarks(team, "other", *cells)
    benchmarks(neighbour, "other", *cells)  # so that nothing can be borrowed
    kueue.schedule()
    states: dict[str, JobState] = {}
    admitted: list[Object] = []

    def run(operator: Operator, job: Object, end: str) -> None:
        kueue.schedule()
        admitted.append(anew(team, job))
        assert not admitted[-1]["spec"].get("suspend")
        operator.status(RAY_JOBS, job["metadata"]["name"], {"jobDeploymentStatus": ""})
        operator.start(admitted[-1], end)
        operator.run(job["metadata"]["name"])

    def play(operator: Operator, job: Object) -> None:
        name = job["metadata"]["name"]
        operator.suspend(job)
        if name.startswith("ft"):
            kueue.schedule()
            states["waits"] = state_of(team, job)
            for each in occupants:
                operator.finish(each["metadata"]["name"])
        run(operator, job, "first")
        if name.startswith("bm"):
            states["runs"] = state_of(team, job)
            kueue.evict(anew(team, job), "ClusterQueueStopped", "The ClusterQueue is stopped")
            operator.suspend(anew(team, job), "first")
            states["evicted"] = state_of(team, job)
            run(operator, job, "second")
        operator.finish(name)

    spec = make_spec(name="trial", cells=["distilgpt2@1xv100-1cpu"])
    with Player(team.operator, selector_of("trial"), play):
        ends = run_jobs(team.api, spec, planned(spec), team.settings, out=io.StringIO())
    assert {each.job.phase for each in ends} == {"done"}
    assert states["waits"].phase == states["evicted"].phase == "queued"
    waits = "waiting for quota in queue medsweep: "
    assert states["waits"].reason is not None
    assert states["waits"].reason.startswith(
        f"{waits}couldn't assign flavors to pod set gpu: insufficient unused quota for cpu in "
        "flavor medsweep-v100, 1 more needed"
    )
    assert (states["runs"].phase, states["runs"].reason) == ("running", None)
    assert states["evicted"].reason is not None
    assert states["evicted"].reason.startswith(f"{waits}evicted (ClusterQueueStopped)")
    # Kueue has written into the list of worker groups, so it owns that, of a job that may run.
    task = tasks_of(spec, planned(spec), team.settings)[1]
    (group,) = admitted[-1]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["template"]["metadata"]["labels"][PODSET] == "gpu"
    assert group["template"]["spec"]["nodeSelector"] == {"medsweep.io/gpu": "v100"}
    with pytest.raises(EnvironmentFault, match=f'workerGroupSpecs: conflict with "{MANAGER}"'):
        team.api.apply(RAY_JOBS, task.manifest())
    # The same command finds its jobs and applies nothing.
    ends = run_jobs(team.api, spec, planned(spec), team.settings, out=io.StringIO())
    assert {each.job.phase for each in ends} == {"done"}


CELLS = [f"{model}@2xv100-4cpu" for model in ("distilgpt2", "gemma-1.1-7b", "llama-3-8b")]


def suspended(cluster: Sandbox, jobs: list[Object]) -> list[bool]:
    return [anew(cluster, job)["spec"].get("suspend", False) for job in jobs]


def test_a_team_gets_its_quota_although_another_could_borrow_it(
    teams: tuple[Sandbox, Sandbox, Kueue],
) -> None:
    """Each team's quota is four V100s."""
    a, b, kueue = teams
    ours, theirs = benchmarks(a, "trial", *CELLS), benchmarks(b, "trial", *CELLS[:2])
    kueue.schedule()
    assert suspended(a, ours) == [False, False, True]
    assert suspended(b, theirs) == [False, False]
    assert "flavor medsweep-v100, 4 more needed" in (state_of(a, ours[2]).reason or "")
    # Another team's sweep of the same name stays, with its Workload.
    assert remove(a.as_account("medsweep-controller"), a.namespace, "trial", keep=("queued",)) == [
        f"rayjobs/{job['metadata']['name']}" for job in ours[:2]
    ]
    kueue.schedule()
    assert suspended(a, ours[2:]) == [False]
    assert len(b.api.objects(WORKLOADS, b.namespace)) == 2
    assert suspended(b, theirs) == [False, False]


def limit(cluster: Sandbox, kind: str, *, to_nothing: bool) -> None:
    """Limit what a team borrows or lends, to nothing or to as much as its own quota."""
    queue = cluster.api.get(CLUSTER_QUEUES, "", cluster.namespace)
    assert queue is not None
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            for each in flavor["resources"]:
                each[kind] = "0" if to_nothing else each["nominalQuota"]
    cluster.merge(CLUSTER_QUEUES, cluster.namespace, {"spec": queue["spec"]})


def test_a_team_borrows_what_another_leaves_idle(teams: tuple[Sandbox, Sandbox, Kueue]) -> None:
    a, b, kueue = teams
    ours = benchmarks(a, "trial", *CELLS)
    kueue.schedule()
    assert suspended(a, ours) == [False, False, False]
    # Nothing is reclaimed, so the owner waits for what it has lent, and says so.
    theirs = benchmarks(b, "trial", *CELLS[:2])
    kueue.schedule()
    assert sorted(suspended(b, theirs)) == [False, True]
    (waiting,) = (job for job in theirs if anew(b, job)["spec"].get("suspend"))
    assert "flavor medsweep-v100, 4 more needed" in (state_of(b, waiting).reason or "")
    a.operator.finish(ours[0]["metadata"]["name"])
    kueue.schedule()
    assert suspended(b, theirs) == [False, False]


@pytest.mark.parametrize("to_nothing", [True, False])
@pytest.mark.parametrize(
    ("whose", "kind"), [(0, "borrowingLimit"), (1, "lendingLimit"), (0, "lendingLimit")]
)
def test_limits_of_a_quota_bound_what_is_borrowed(
    whose: int, kind: str, to_nothing: bool, teams: tuple[Sandbox, Sandbox, Kueue]
) -> None:
    a, _, kueue = teams
    limit(teams[:2][whose], kind, to_nothing=to_nothing)
    jobs = benchmarks(a, "trial", *CELLS)
    kueue.schedule()
    # What a team does not lend, it still has for itself.
    third_waits = to_nothing and (whose, kind) != (0, "lendingLimit")
    assert suspended(a, jobs) == [False, False, third_waits]


def test_what_keeps_kueue_from_admitting_is_told(teams: tuple[Sandbox, Sandbox, Kueue]) -> None:
    team, _, kueue = teams
    settings = team.settings.model_copy(update={"queue": "absent"})
    team.settings = settings
    (job,) = benchmarks(team, "trial", "distilgpt2@1xv100-1cpu")
    team.operator.suspend(job)
    # Before Kueue has seen it, or where its controller is down.
    assert state_of(team, job).reason == "waiting for quota in queue absent"
    kueue.schedule()
    missing = "LocalQueue absent doesn't exist"
    assert state_of(team, job).reason == f"waiting for quota in queue absent: {missing}"

    def queue_check() -> tuple[str, str]:
        (check,) = (each for each in examine(team.api, team.settings) if each.what == "queue")
        return check.state, check.finding

    assert queue_check() == ("failed", f"no LocalQueue absent in {team.namespace}")
    team.settings = settings.model_copy(update={"queue": "medsweep"})
    assert queue_check() == ("ok", "medsweep")
    stopped = {"type": "Active", "status": "False", "reason": "ClusterQueueIsInactive"}
    condition = {**stopped, "message": "Can't submit new workloads to clusterQueue"}
    condition["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    team.operator.status(LOCAL_QUEUES, "medsweep", {"conditions": [condition]})
    assert queue_check() == ("failed", f"medsweep admits nothing: {condition['message']}")
