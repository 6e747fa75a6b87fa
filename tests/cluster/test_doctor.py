from __future__ import annotations

from datetime import timedelta

import pytest

from apiserver.sandbox import Sandbox
from medsweep.k8s.check import ClusterCheck
from medsweep.k8s.client import Api
from medsweep.k8s.doctor import examine
from medsweep.k8s.resources import NETWORK_POLICIES, NODES, RAY_JOBS
from medsweep.k8s.settings import ClusterSettings


def checks_of(api: Api, settings: ClusterSettings) -> dict[str, ClusterCheck]:
    return {check.what: check for check in examine(api, settings)}


def test_doctor_names_what_is_there_and_what_to_do_where_it_is_not(cluster: Sandbox) -> None:
    checks = checks_of(cluster.api, cluster.settings)
    states = {what: check.state for what, check in checks.items()}
    assert len(states) > 15
    assert states.pop("images") == "failed"
    assert states.pop("secret medsweep-hf") == "failed"
    assert states.pop("claim medsweep-results") == "unknown"
    assert set(states.values()) == {"ok"}
    assert "create secret generic medsweep-hf" in checks["secret medsweep-hf"].advice
    for check in checks.values():
        assert bool(check.advice) == (check.state != "ok")


def test_doctor_sees_what_a_person_may_not_do(cluster: Sandbox) -> None:
    checks = checks_of(cluster.as_account("medsweep-controller"), cluster.settings)
    assert checks["get, list, watch, create, patch, delete rayjobs.ray.io"].state == "ok"
    assert checks["node pools"].state == "unknown"
    assert "--max-at-once" in checks["node pools"].advice
    nobody = checks_of(cluster.as_account("medsweep-job"), cluster.settings)
    denied = nobody["get, list, watch, create, patch, delete rayjobs.ray.io"]
    assert denied.state == "failed"
    assert "medsweep-controller" in denied.advice


def test_doctor_finds_an_operator_that_does_not_run(
    cluster: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, settings = cluster.api, cluster.settings
    cluster.operator.be_ready(ready=False)
    check = checks_of(api, settings)["KubeRay operator"]
    assert check.state == "failed"
    assert check.finding == f"1 pods in {settings.operator_namespace}, none of them ready"
    elsewhere = settings.model_copy(update={"operator_namespace": "default"})
    checks = checks_of(api, elsewhere)
    assert "set `operator_namespace`" in checks["KubeRay operator"].advice
    assert checks["network policy"].finding == "does not admit the operator of default"
    # Whoever may not see the operator's pods sees jobs that nobody touches.
    account = cluster.as_account("medsweep-controller")
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "bm-x", "namespace": cluster.namespace},
        "spec": {"clusterSelector": {"a": "b"}, "entrypoint": "true"},
    }
    api.apply(RAY_JOBS, job)
    checks = checks_of(account, settings)
    assert checks["KubeRay operator"].state == "unknown"
    assert "RayJobs" not in checks, "it has not waited for a minute"
    monkeypatch.setattr("medsweep.k8s.software_checks._STUCK", timedelta(seconds=-1))
    assert (
        checks_of(account, settings)["RayJobs"].finding == "1 have waited for it for over a minute"
    )


def test_doctor_finds_dashboards_without_a_policy(cluster: Sandbox) -> None:
    api, settings = cluster.api, cluster.settings
    api.delete(NETWORK_POLICIES, cluster.namespace, "medsweep-jobs")
    check = checks_of(api, settings)["network policy"]
    assert (check.state, "dashboard is open" in check.advice) == ("failed", True)


def test_doctor_misses_pools_crds_and_the_namespace(cluster: Sandbox) -> None:
    cluster.api.delete(NODES, "", f"{cluster.namespace}-a100")
    settings = cluster.settings.model_copy(update={"namespace": "absent", "queue": "q"})
    checks = checks_of(cluster.api, settings)
    assert checks["namespace"].finding == "absent does not exist"
    assert checks["pool a100"].finding == "no node has medsweep.io/gpu=a100"
    assert "kubectl label node NODE medsweep.io/gpu=a100" in checks["pool a100"].advice
    assert checks["queue"].state in ("failed", "unknown")
