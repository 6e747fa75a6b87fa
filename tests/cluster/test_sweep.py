"""A sweep on its way through an API server, with the operator played."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from apiserver.definitions import until
from apiserver.operator import Operator, Player, succeed
from apiserver.sandbox import Sandbox
from medsweep.errors import EnvironmentFault
from medsweep.hardware.observe import host_profile
from medsweep.k8s.render import serve_service
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS, RAY_SERVICES
from medsweep.k8s.run import run_jobs
from medsweep.k8s.submit import tasks_of
from medsweep.k8s.sweeps import remove, selector_of, sweep_states
from medsweep.k8s.watch import Change, Watch
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec

SPEC = make_spec(
    name="trial",
    cells=["distilgpt2@1xv100-1cpu", "distilgpt2@1xa100-1cpu", "llama-3-8b@1xa100-2cpu"],
)


def planned(spec: SweepSpec) -> Plan:
    return make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())


def go(cluster: Sandbox, out: io.StringIO | None = None, **options: Any) -> dict[str, str]:
    states = run_jobs(
        cluster.api, SPEC, planned(SPEC), cluster.settings, out=out or io.StringIO(), **options
    )
    return {each.task.what: each.job.phase for each in states}


def versions(cluster: Sandbox) -> dict[str, str]:
    jobs = cluster.api.objects(RAY_JOBS, cluster.namespace, selector_of(SPEC.name))
    return {job["metadata"]["name"]: job["metadata"]["resourceVersion"] for job in jobs}


def test_a_sweep_runs_in_order_and_a_second_submit_changes_nothing(cluster: Sandbox) -> None:
    out = io.StringIO()
    with Player(cluster.operator, selector_of(SPEC.name)) as player:
        assert set(go(cluster, out).values()) == {"done"}
    lines = out.getvalue().splitlines()
    done = [line for line in lines if line.endswith(": done (1 min 0 s)")]
    done = [line.partition("] ")[2] for line in done]
    assert [line.split()[0] for line in done].count("finetune") == 2
    for model in ("standin-distilgpt2", "standin-llama-3-8b"):
        ours = [line for line in done if model in line]
        assert ours[0].startswith("finetune")
        assert len(ours) > 1
    before = versions(cluster)
    assert len(before) == len(player.played) == 5
    assert set(go(cluster).values()) == {"done"}
    assert versions(cluster) == before


def test_a_client_that_died_is_followed_by_one_that_goes_on(cluster: Sandbox) -> None:
    class Dying(io.StringIO):
        def write(self, text: str) -> int:
            if "benchmark" in text:
                raise KeyboardInterrupt
            return super().write(text)

    with Player(cluster.operator, selector_of(SPEC.name)):
        with pytest.raises(KeyboardInterrupt):
            go(cluster, Dying())
        assert set(go(cluster).values()) == {"done"}
    assert len(versions(cluster)) == 5


class Mute(Watch):
    """Hears nothing of pods: each kind's watch is late in its own way, this one for ever."""

    def changes(self) -> Iterator[Change]:
        return iter(()) if self._resource is PODS else super().changes()


@pytest.mark.parametrize("watch", [Watch, Mute])
def test_a_failed_job_says_why_takes_its_cells_along_and_is_tried_again(
    cluster: Sandbox, watch: type[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsweep.k8s.watch.Watch", watch)
    killed = {"name": "ray-worker", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 9}}}

    def fail(operator: Operator, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        if not name.startswith("ft-standin-llama"):
            succeed(operator, job)
            return
        operator.start(job)
        operator.run(name)
        status = {**killed, "image": "", "imageID": "", "ready": False, "restartCount": 0}
        operator.pod(name, {"containerStatuses": [status]})
        operator.finish(name, reason="AppFailed")

    out = io.StringIO()
    with Player(cluster.operator, selector_of(SPEC.name), fail):
        phases = go(cluster, out)
    assert phases == {
        "standin-distilgpt2": "done",
        "standin-llama-3-8b": "failed",
        "standin-distilgpt2@1xv100-1cpu": "done",
        "standin-distilgpt2@1xa100-1cpu": "done",
        "standin-llama-3-8b@1xa100-2cpu": "failed",
    }
    text = out.getvalue()
    assert "it needed more memory than the profile has and was killed (OOMKilled)" in text
    assert "benchmark standin-llama-3-8b@1xa100-2cpu: failed: its fine-tune failed" in text
    with Player(cluster.operator, selector_of(SPEC.name)) as player:
        assert set(go(cluster).values()) == {"done"}
    assert len(player.played) == 2, "the others were not touched"


def test_status_shows_node_and_reason(cluster: Sandbox) -> None:
    task = tasks_of(SPEC, planned(SPEC), cluster.settings)[0]
    cluster.operator.start(cluster.api.apply(RAY_JOBS, task.manifest()))
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    cluster.operator.pod(task.name, {"conditions": [condition]})
    (state,) = sweep_states(cluster.api, cluster.namespace, SPEC.name)
    assert state.phase == "starting"
    assert state.reason is not None
    assert message in state.reason


@pytest.mark.parametrize("given", [True, False], ids=["as rendered", "without scaleStrategy"])
def test_a_second_apply_does_not_conflict_with_the_operator(cluster: Sandbox, given: bool) -> None:
    """The operator writes into the list of worker groups, which has one owner as a whole."""
    spec, plan = SPEC, planned(SPEC)
    finetune = tasks_of(spec, plan, cluster.settings)[0].manifest()
    service = serve_service(spec, plan.runnable[0], cluster.settings)
    for resource, manifest in ((RAY_JOBS, finetune), (RAY_SERVICES, service)):
        ray = manifest["spec"].get("rayClusterSpec") or manifest["spec"]["rayClusterConfig"]
        if not given:
            for group in ray["workerGroupSpecs"]:
                del group["scaleStrategy"]
        cluster.api.apply(resource, manifest)
        name = manifest["metadata"]["name"]
        cluster.operator.adopt(resource, name)
        if given:
            adopted = cluster.api.get(resource, cluster.namespace, name)
            assert adopted is not None
            version = cluster.api.apply(resource, manifest)["metadata"]["resourceVersion"]
            assert version == adopted["metadata"]["resourceVersion"], "nothing was changed"
        else:
            with pytest.raises(
                EnvironmentFault, match=r'workerGroupSpecs: conflict with "kuberay-operator'
            ):
                cluster.api.apply(resource, manifest)


def test_delete_leaves_nothing_and_cancel_leaves_what_is_over(cluster: Sandbox) -> None:
    tasks = tasks_of(SPEC, planned(SPEC), cluster.settings)[:2]
    for task in tasks:
        cluster.operator.start(cluster.api.apply(RAY_JOBS, task.manifest()))
    cluster.operator.finish(tasks[0].name)
    namespace, selector = cluster.namespace, selector_of(SPEC.name)
    with Player(cluster.operator, selector):
        assert remove(cluster.api, namespace, SPEC.name, keep=("done", "failed")) == [
            f"rayjobs/{tasks[1].name}"
        ]
        until(lambda: len(cluster.api.objects(RAY_JOBS, namespace, selector)) == 1, "it stays")
        (job,) = cluster.api.objects(RAY_JOBS, namespace, selector)
        assert job["metadata"]["name"] == tasks[0].name
        remove(cluster.api, namespace, SPEC.name)
        until(lambda: not cluster.api.objects(RAY_JOBS, namespace, selector), "they stay")
    for resource in (RAY_JOBS, RAY_SERVICES):
        assert cluster.api.objects(resource, namespace, selector) == []
    for resource in (RAY_CLUSTERS, PODS):
        # What is left is the garbage collector's, which a bare API server does not have.
        for each in cluster.api.objects(resource, namespace, selector):
            assert each["metadata"]["ownerReferences"]


def test_the_controllers_role_is_enough_and_the_jobs_account_may_nothing(cluster: Sandbox) -> None:
    controller = cluster.as_account("medsweep-controller")
    with Player(cluster.operator, selector_of(SPEC.name)):
        states = run_jobs(
            controller, SPEC, planned(SPEC), cluster.settings, max_jobs=2, out=io.StringIO()
        )
    assert {each.job.phase for each in states} == {"done"}
    assert len(sweep_states(controller, cluster.namespace, SPEC.name)) == 5
    assert remove(controller, cluster.namespace, SPEC.name) != []
    nobody = cluster.as_account("medsweep-job")
    with pytest.raises(EnvironmentFault, match="not allowed to list.*medsweep-controller"):
        nobody.objects(RAY_JOBS, cluster.namespace)
    with pytest.raises(EnvironmentFault, match="cannot count how many jobs the node pools hold"):
        run_jobs(controller, SPEC, planned(SPEC), cluster.settings, out=io.StringIO())


def test_fields_that_someone_else_set_are_not_overwritten(cluster: Sandbox) -> None:
    task = tasks_of(SPEC, planned(SPEC), cluster.settings)[0]
    cluster.api.apply(RAY_JOBS, task.manifest())
    cluster.merge(RAY_JOBS, task.name, {"spec": {"activeDeadlineSeconds": 5}}, "someone")
    with pytest.raises(EnvironmentFault, match=r"activeDeadlineSeconds.*conflict with \"someone\""):
        cluster.api.apply(RAY_JOBS, task.manifest())
