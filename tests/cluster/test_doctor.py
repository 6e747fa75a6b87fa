from __future__ import annotations

from apiserver.sandbox import Sandbox
from medsweep.k8s.client import Api
from medsweep.k8s.doctor import Check, examine
from medsweep.k8s.resources import NODES
from medsweep.k8s.settings import ClusterSettings


def found(api: Api, settings: ClusterSettings) -> dict[str, Check]:
    return {check.what: check for check in examine(api, settings)}


def test_doctor_names_what_is_there_and_what_to_do_where_it_is_not(cluster: Sandbox) -> None:
    checks = found(cluster.api, cluster.settings)
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
    checks = found(cluster.as_account("medsweep-controller"), cluster.settings)
    assert checks["get, list, watch, create, patch, delete rayjobs.ray.io"].state == "ok"
    assert checks["node pools"].state == "unknown"
    assert "--max-at-once" in checks["node pools"].advice
    nobody = found(cluster.as_account("medsweep-job"), cluster.settings)
    denied = nobody["get, list, watch, create, patch, delete rayjobs.ray.io"]
    assert denied.state == "failed"
    assert "medsweep-controller" in denied.advice


def test_doctor_misses_pools_crds_and_the_namespace(cluster: Sandbox) -> None:
    cluster.api.delete(NODES, "", f"{cluster.namespace}-a100")
    settings = cluster.settings.model_copy(update={"namespace": "absent", "queue": "q"})
    checks = found(cluster.api, settings)
    assert checks["namespace"].finding == "absent does not exist"
    assert checks["pool a100"].finding == "no node has medsweep.io/gpu=a100"
    assert "kubectl label node NODE medsweep.io/gpu=a100" in checks["pool a100"].advice
    assert checks["queue"].state in ("failed", "unknown")
