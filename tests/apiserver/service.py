"""Plays what KubeRay's operator does with a RayService, step by step.

From KubeRay's `rayservice_controller.go`: it compares the digest of `rayClusterConfig` alone with
that of its cluster. Another one leads to a second cluster, if `upgradeStrategy` allows it. Once
that one's applications run, the Service selects it, and the first one is deleted after a delay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from apiserver.operator import Operator
from medsweep.k8s.resources import RAY_CLUSTERS, RAY_SERVICES, Resource

Object = dict[str, Any]

SERVICES = Resource("", "v1", "services", "Service")
DELETION_DELAY_S = 60
"""KubeRay's own, where the RayService gives none."""


class ServicePlayer:
    """Reconciles one RayService.

    Args:
        operator: writes to the API server.
        name: of the RayService.
    """

    def __init__(self, operator: Operator, name: str) -> None:
        self._operator, self._name = operator, name
        self._active = self._pending = ""
        self._digests: dict[str, str] = {}
        self._configs: dict[str, str] = {}
        self._ends: dict[str, float] = {}
        self.in_place = 0
        """How often Serve's config was changed on a cluster that answers: the model is away."""

    def step(self, now: float, ready: Callable[[str], bool] = lambda _: True) -> None:
        """Reconcile once.

        Args:
            now: time in seconds.
            ready: whether the applications of a cluster run.
        """
        api, namespace = self._operator.api, self._operator.namespace
        service = api.get(RAY_SERVICES, namespace, self._name)
        assert service is not None
        if not service["metadata"].get("finalizers"):
            self._operator.adopt(RAY_SERVICES, self._name)
        spec = service["spec"]
        self._clean_up(now, spec.get("rayClusterDeletionDelaySeconds", DELETION_DELAY_S))
        digest = _digest(spec["rayClusterConfig"])
        newest = self._pending or self._active
        if not newest or (self._digests[newest] != digest and _may_replace(spec)):
            self._pending = f"{self._name}-{len(self._digests)}"
            self._digests[self._pending] = digest
            labels = {"ray.io/originated-from-cr-name": self._name}
            body = {"spec": spec["rayClusterConfig"]}
            self._operator.create(RAY_CLUSTERS, self._pending, labels, service, body)
        target = self._pending or self._active
        before = self._configs.setdefault(target, spec["serveConfigV2"])
        if before != spec["serveConfigV2"] and self._digests[target] == digest:
            self.in_place += 1
            self._configs[target] = spec["serveConfigV2"]
        if self._pending and ready(self._pending):
            self._select(self._pending)
            self._active, self._pending = self._pending, ""
        condition = {
            "type": "UpgradeInProgress",
            "status": str(bool(self._active and self._pending)),
        }
        self._operator.status(
            RAY_SERVICES,
            self._name,
            {"conditions": [{**condition, "reason": "Played", "message": "", **_NOW}]},
        )

    def _clean_up(self, now: float, delay_s: float) -> None:
        api, namespace = self._operator.api, self._operator.namespace
        for cluster in self._digests.keys() - {self._active, self._pending}:
            if self._ends.setdefault(cluster, now + delay_s) <= now:
                api.delete(RAY_CLUSTERS, namespace, cluster)

    def _select(self, cluster: str) -> None:
        """Let the Service select the pods of a cluster."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"{self._name}-serve-svc", "namespace": self._operator.namespace},
            "spec": {
                "selector": {"ray.io/cluster": cluster, "ray.io/serve": "true"},
                "ports": [{"name": "serve", "port": 8000}],
            },
        }
        self._operator.api.apply(SERVICES, service)


_NOW = {"lastTransitionTime": "2026-01-01T00:00:00Z"}


def _may_replace(spec: Object) -> bool:
    return (spec.get("upgradeStrategy") or {}).get("type", "NewCluster") == "NewCluster"


def _digest(config: Object) -> str:
    """Return the digest of a cluster's spec without what an autoscaler changes."""
    groups = [
        {key: value for key, value in group.items() if key not in ("replicas", "scaleStrategy")}
        for group in config["workerGroupSpecs"]
    ]
    text = json.dumps({**config, "workerGroupSpecs": groups}, sort_keys=True)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
