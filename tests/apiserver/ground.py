"""A namespace of an API server with everything that a sweep needs, made and taken away again."""

from __future__ import annotations

import functools
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from apiserver.operator import Operator
from crds import ROOT, crd_folder
from medsweep.cluster.kubernetes.client import Api, Request
from medsweep.cluster.kubernetes.connect import connect
from medsweep.cluster.kubernetes.names import GPU
from medsweep.cluster.kubernetes.resources import (
    CRDS,
    NAMESPACES,
    NODES,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    Resource,
)
from medsweep.cluster.kubernetes.settings import ClusterSettings
from medsweep.errors import EnvironmentFault

Object = dict[str, Any]

POOLS = {"none": 0, "v100": 8, "a100": 8, "rtx8000": 8}
"""GPUs of each pool's one node."""

_PLURALS = {
    "ServiceAccount": ("", "v1", "serviceaccounts"),
    "PersistentVolumeClaim": ("", "v1", "persistentvolumeclaims"),
    "ResourceQuota": ("", "v1", "resourcequotas"),
    "Role": ("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
}


class Ground:
    """Where a test plays.

    Args:
        api: the API server, with all rights.
        namespace: of this test alone.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace
        self.settings = ClusterSettings(namespace=namespace)
        self.operator = Operator(api, namespace)

    def as_account(self, name: str) -> Api:
        """Return the API server as one of the namespace's service accounts sees it."""
        return connect(user=f"system:serviceaccount:{self.namespace}:{name}")

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


@functools.cache
def crd_documents(*, schemas: bool) -> list[Object]:
    """Return the CRDs; those of Kueue without the webhook that converts them.

    Args:
        schemas: with their schemas, which are megabytes.
    """
    documents = []
    for path in sorted(crd_folder().glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        head, _, versions = text.partition("\n  versions:\n")
        document = yaml.load(text if schemas else head, Loader=yaml.CSafeLoader)
        document["spec"].pop("conversion", None)
        if not schemas:
            names = re.findall(r"^(?:  - |    )name: (v\d\w*)$", versions, flags=re.MULTILINE)
            document["spec"]["versions"] = [{"name": name, "served": True} for name in names]
        documents.append(document)
    return documents


@contextmanager
def ground(api: Api, crds: list[Object]) -> Iterator[Ground]:
    """Make a namespace, the product's base in it, and a node for each pool; then take them away.

    Args:
        api: the API server, with all rights.
        crds: installed where they are not there, and then taken away too.
    """
    namespace = f"medsweep-test-{uuid.uuid4().hex[:8]}"
    made: list[tuple[Resource, str]] = []

    def make(resource: Resource, manifest: Object) -> None:
        name = manifest["metadata"]["name"]
        if api.get(resource, "", name) is None:
            made.append((resource, name))
            api.create(resource, "", manifest)

    try:
        make(
            NAMESPACES,
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        )
        for crd in crds:
            make(CRDS, crd)
        _until_served(api, namespace)
        for gpu, count in POOLS.items():
            make(NODES, node(f"{namespace}-{gpu}", gpu, count))
        for document in base(namespace):
            group, version, plural = _PLURALS[document["kind"]]
            api.apply(Resource(group, version, plural, document["kind"]), document)
        yield Ground(api, namespace)
    finally:
        for resource, name in reversed(made):
            api.delete(resource, "", name)


def _until_served(api: Api, namespace: str) -> None:
    """Wait until the API server serves what a CRD has just defined: it says so nowhere."""
    for attempt in range(100):
        try:
            for resource in (RAY_JOBS, RAY_CLUSTERS, RAY_SERVICES):
                api.objects(resource, namespace)
        except EnvironmentFault:
            if attempt == 99:
                raise
            time.sleep(0.1)
        else:
            return


def node(name: str, gpu: str, count: int) -> Object:
    """Return a node of a pool."""
    amounts = {"nvidia.com/gpu": str(count), "cpu": "64", "memory": "512Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {GPU: gpu}},
        "status": {"allocatable": amounts, "capacity": amounts},
    }


def base(namespace: str) -> Iterator[Object]:
    """Yield the objects of k8s/base, moved to another namespace."""
    for path in sorted((ROOT / "k8s" / "base").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] not in _PLURALS:
                continue
            document["metadata"]["namespace"] = namespace
            for subject in document.get("subjects", []):
                subject["namespace"] = namespace
            yield document
