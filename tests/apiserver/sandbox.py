"""A namespace of an API server with everything that a sweep needs, made and taken away again."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from apiserver.definitions import until
from apiserver.operator import FINALIZERS, Operator
from crds import ROOT
from medsweep.errors import EnvironmentFault
from medsweep.k8s.client import Absent, Api, Request, connect
from medsweep.k8s.conventions import GPU
from medsweep.k8s.resources import (
    CLAIMS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    SERVICE_ACCOUNTS,
    Resource,
)
from medsweep.k8s.settings import RESULTS_MOUNT, ClusterSettings

Object = dict[str, Any]

POOLS = {"none": 0, "v100": 8, "a100": 8, "rtx8000": 8}
"""GPUs of each pool's one node."""

_RBAC = "rbac.authorization.k8s.io"
QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
ROLE_BINDINGS = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")
_INSIDE = {
    resource.kind: resource
    for resource in (
        *(RAY_JOBS, RAY_SERVICES, RAY_CLUSTERS, PODS, CLAIMS, SERVICE_ACCOUNTS),
        QUOTAS,
        Resource(_RBAC, "v1", "roles", "Role"),
        ROLE_BINDINGS,
        NETWORK_POLICIES,
    )
}
"""What is made in the namespace, by kind; owners come before what they own."""


class Sandbox:
    """Where a test plays.

    Args:
        api: the API server, with all rights.
        namespace: of this test alone.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.settings = ClusterSettings(
            namespace=namespace, operator_namespace=f"{namespace}-operator"
        )
        self.operator = Operator(api, namespace)

    def as_account(self, name: str) -> Api:
        """Return the API server as one of the namespace's service accounts sees it."""
        return connect(user=f"system:serviceaccount:{self.namespace}:{name}")

    def limit(self, name: str, hard: Object) -> None:
        """Set a ResourceQuota, and its status as the controller manager would.

        Without a controller manager nobody else does, and the API server refuses what a quota of
        unknown status limits.

        Args:
            name: of the quota.
            hard: what it allows.
        """
        manifest = {
            "apiVersion": "v1",
            "kind": QUOTAS.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"hard": hard},
        }
        self.api.apply(QUOTAS, manifest)
        used = (self.api.get(QUOTAS, self.namespace, name) or {}).get("status", {}).get("used", {})
        status = {"hard": hard, "used": {**dict.fromkeys(hard, "0"), **used}}
        self.operator.status(QUOTAS, name, status)

    def merge(self, resource: Resource, name: str, patch: Object, manager: str = "else") -> None:
        """Change an object as someone else would."""
        self.api.call(
            Request(
                "PATCH",
                "patch",
                resource,
                self.namespace,
                name,
                query={"fieldManager": manager},
                body=patch,
                content_type="application/merge-patch+json",
            )
        )


@contextmanager
def sandbox(api: Api) -> Iterator[Sandbox]:
    """Make a namespace, the product's base in it, and a node for each pool; then take them away.

    Args:
        api: the API server, with all rights and with Ray's kinds.
    """
    made = Sandbox(api, f"medsweep-test-{uuid.uuid4().hex[:8]}")
    namespace, nodes = made.namespace, list[str]()
    metadata = {"name": namespace}
    api.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    try:
        for gpu, count in POOLS.items():
            nodes.append(f"{namespace}-{gpu}")
            api.create(NODES, "", node(nodes[-1], gpu, count))
        made.operator.install()
        for document in base(namespace):
            api.apply(_INSIDE[document["kind"]], document)
            if document["kind"] == QUOTAS.kind:
                made.limit(document["metadata"]["name"], document["spec"]["hard"])
        # The authorizer hears of a binding a little after it was made.
        controller = made.as_account("medsweep-controller")
        until(lambda: _may_list(controller, namespace), "the role of k8s/base gives no right")
        yield made
    finally:
        for name in nodes:
            api.delete(NODES, "", name)
        end_namespaces(api, made.settings.operator_namespace, namespace)


def _may_list(api: Api, namespace: str) -> bool:
    try:
        api.objects(RAY_JOBS, namespace)
    except EnvironmentFault:
        return False
    return True


def end_namespaces(api: Api, *names: str) -> None:
    """Delete namespaces with all that is in them, also where nobody but the API server is there.

    The controller manager empties a namespace and lets it go; a server without one keeps it for
    ever. It also makes each namespace's account `default`, by which it is known here. Nobody serves
    the finalizers of an operator that is only played.
    """
    managed = {name: api.get(SERVICE_ACCOUNTS, name, "default") is not None for name in names}
    for name in names:
        api.delete(NAMESPACES, "", name)
    for name in names:
        ending = api.get(NAMESPACES, "", name)
        if ending is None:
            continue
        for resource in FINALIZERS if managed[name] else _INSIDE.values():
            for each in api.objects(resource, name):
                with suppress(Absent):
                    _end(api, resource, name, each)
        if not managed[name]:
            ending["spec"]["finalizers"] = []
            api.call(Request("PUT", "update", NAMESPACES, "", name, "finalize", body=ending))
    for name in names:
        until(lambda name=name: api.get(NAMESPACES, "", name) is None, f"{name} does not go")


def _end(api: Api, resource: Resource, namespace: str, value: Object) -> None:
    """Delete an object for whose end nobody waits."""
    name = value["metadata"]["name"]
    if value["metadata"].get("finalizers"):
        api.call(
            Request(
                "PATCH",
                "patch",
                resource,
                namespace,
                name,
                body={"metadata": {"finalizers": None}},
                content_type="application/merge-patch+json",
            )
        )
    api.delete(resource, namespace, name)


def node(name: str, gpu: str, count: int) -> Object:
    """Return a node of a pool."""
    amounts = {"nvidia.com/gpu": str(count), "cpu": "64", "memory": "512Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {GPU: gpu}},
        "status": {"allocatable": amounts, "capacity": amounts},
    }


def commands_on(claim: Path) -> Callable[[list[str]], bytes]:
    """Return what runs the commands of pods that mount a folder of this machine as their claim."""

    def execute(command: list[str]) -> bytes:
        here = [part.replace(RESULTS_MOUNT, str(claim)) for part in command]
        return subprocess.run(here, check=True, capture_output=True).stdout

    return execute


def base(namespace: str) -> Iterator[Object]:
    """Yield the objects of k8s/base, moved to another namespace."""
    for path in sorted((ROOT / "k8s" / "base").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] not in _INSIDE:
                continue
            document["metadata"]["namespace"] = namespace
            for subject in document.get("subjects", []):
                subject["namespace"] = namespace
            text = yaml.safe_dump(document).replace("ray-system", f"{namespace}-operator")
            yield yaml.safe_load(text)
