"""Node pools, claims, secrets and images, against a stand-in of the client that holds objects."""

from __future__ import annotations

from typing import Any

import pytest

from medsweep.errors import EnvironmentFault
from medsweep.hardware.catalog import PROFILES
from medsweep.k8s.capacity import GPU_RESOURCE
from medsweep.k8s.check import ClusterCheck
from medsweep.k8s.conventions import GPU, NO_GPU
from medsweep.k8s.resource_checks import check_resources
from medsweep.k8s.resources import CLAIMS, SECRETS, STORAGE_CLASSES, Resource
from medsweep.k8s.settings import ClusterSettings

Object = dict[str, Any]


class Cluster:
    """Objects by kind and name; kinds that are `closed` may not be read."""

    def __init__(self) -> None:
        self.values: dict[tuple[Resource, str], Object] = {}
        self.nodes: list[Object] = []
        self.closed: tuple[Resource, ...] = ()

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        if resource in self.closed:
            raise EnvironmentFault("forbidden")
        return self.values.get((resource, name))

    def objects(self, resource: Resource, namespace: str) -> list[Object]:
        return self.nodes


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def checks_of(cluster: Cluster, **fields: Any) -> dict[str, ClusterCheck]:
    settings = ClusterSettings(**fields)
    return {check.what: check for check in check_resources(cluster, settings)}  # type: ignore[arg-type]


def claim(phase: str, mode: str = "ReadWriteMany", storage_class: str | None = None) -> Object:
    spec = {"accessModes": [mode], "storageClassName": storage_class}
    return {"spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("value", "state", "finding"),
    [
        (None, "failed", "does not exist"),
        (claim("Bound", "ReadWriteOnce"), "failed", "access modes: ReadWriteOnce"),
        (claim("Bound"), "ok", "bound, storage class of the cluster"),
        (claim("Bound", storage_class="nfs"), "ok", "bound, storage class nfs"),
        (claim("Pending", storage_class="nfs"), "unknown", "not bound yet (Pending)"),
        (claim("Pending", storage_class="gone"), "failed", "no storage class gone"),
    ],
)
def test_a_claim_is_bound_and_shared_by_nodes(
    cluster: Cluster, value: Object | None, state: str, finding: str
) -> None:
    cluster.values[STORAGE_CLASSES, "nfs"] = {}
    if value is not None:
        cluster.values[CLAIMS, "medsweep-results"] = value
    check = checks_of(cluster)["claim medsweep-results"]
    assert (check.state, check.finding) == (state, finding)
    assert bool(check.advice) == (state != "ok")


def test_a_storage_class_that_may_not_be_read_is_no_fault(cluster: Cluster) -> None:
    cluster.values[CLAIMS, "medsweep-results"] = claim("Pending", storage_class="nfs")
    cluster.closed = (STORAGE_CLASSES,)
    assert checks_of(cluster)["claim medsweep-results"].finding == "not bound yet (Pending)"


@pytest.mark.parametrize(
    ("secret", "state"),
    [
        (None, "failed"),
        ({"type": "Opaque"}, "failed"),
        ({"type": "kubernetes.io/dockerconfigjson"}, "ok"),
    ],
)
def test_a_pull_secret_is_of_a_registry(
    cluster: Cluster, secret: Object | None, state: str
) -> None:
    if secret is not None:
        cluster.values[SECRETS, "pull"] = secret
    fields = {"image": "registry.example/medsweep", "image_pull_secret": "pull"}
    assert checks_of(cluster, **fields)["images"].state == state
    assert checks_of(cluster, image=fields["image"])["images"].state == "unknown"
    assert checks_of(cluster)["images"].state == "failed", "names no registry"


def test_a_secret_that_may_not_be_read_is_unknown(cluster: Cluster) -> None:
    cluster.closed = (SECRETS,)
    check = checks_of(cluster)["Secret medsweep-hf"]
    assert (check.state, check.finding) == ("unknown", "may not be read")
    assert check.advice.endswith("kubectl -n medsweep get secrets medsweep-hf")


def test_a_pool_needs_the_gpus_of_its_greatest_profile(cluster: Cluster) -> None:
    greatest = max(PROFILES.values(), key=lambda profile: profile.gpus)
    pool = greatest.labels[GPU]

    def node(gpus: int) -> Object:
        allocatable = {GPU_RESOURCE: str(gpus)}
        return {"metadata": {"labels": {GPU: pool}}, "status": {"allocatable": allocatable}}

    assert greatest.gpus > 1
    cluster.nodes = [node(greatest.gpus - 1), {"metadata": {"labels": {GPU: NO_GPU}}}]
    checks = checks_of(cluster)
    assert checks["CPU pool"].state == "ok"
    assert checks[f"pool {pool}"].finding == f"{greatest.gpus - 1} allocatable GPUs"
    assert checks[f"pool {pool}"].state == "failed"
    cluster.nodes.append(node(1))
    assert checks_of(cluster)[f"pool {pool}"].state == "ok"
