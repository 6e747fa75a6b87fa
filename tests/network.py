"""Which pods a manifest becomes, and what network policies let reach them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Manifest = dict[str, Any]
Labels = dict[str, str]

OURS = {"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "medsweep"}}}


def operator(namespace: str) -> Manifest:
    """The operator's pods in one namespace, and no pod elsewhere that calls itself so."""
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }


def pods_of(manifest: Manifest) -> Iterator[Labels]:
    """Yield the labels of each pod that an object leads to."""
    for template in templates_of(manifest):
        yield template["metadata"]["labels"]


def templates_of(manifest: Manifest) -> Iterator[Manifest]:
    """Yield the template of each pod that an object leads to.

    Raises:
        LookupError: it is not known whether this kind leads to pods.
    """
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind in ("RayJob", "RayService"):
        cluster = spec["rayClusterSpec" if kind == "RayJob" else "rayClusterConfig"]
        yield cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield group["template"]
        if kind == "RayJob":
            yield spec["submitterPodTemplate"]
    elif kind == "Job":
        yield spec["template"]
    elif kind == "Pod":
        yield manifest
    elif kind not in (
        *("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole"),
        *("ClusterRoleBinding", "PersistentVolumeClaim", "ResourceQuota", "NetworkPolicy"),
        *("ResourceFlavor", "ClusterQueue", "LocalQueue", "ConfigMap", "Service"),
        *("PodMonitor", "PrometheusRule"),
    ):
        raise LookupError(f"does a {kind} lead to pods?")


CLUSTER_DNS = [
    (address, 53) for address in ("169.254.20.10/32", "169.254.169.254/32") for _ in ("UDP", "TCP")
]
"""The cache on each node (NodeLocal DNSCache), and GKE with Cloud DNS."""

CLOUD_IDENTITY = [
    ("169.254.169.254/32", 80),
    ("169.254.170.23/32", 80),
    ("169.254.169.252/32", 988),
]
"""Where pods get credentials: GKE, EKS, and GKE's nodes without Dataplane V2, which redirect the
first address to the third before they look at a policy."""


def reach(policy: Manifest, port: int | None = None) -> list[tuple[str, int]]:
    """Return what a policy lets pods reach outside of the cluster: on one port, or all but DNS."""
    return [
        (peer["ipBlock"]["cidr"], each["port"])
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
        for each in rule["ports"]
        if (each["port"] != 53 if port is None else each["port"] == port)
    ]


def dashboard_peers(policies: Iterable[Manifest], pod: Labels, port: int = 8265) -> list[Any]:
    """Return who may reach a port of a pod, rule by rule; `everyone` where no policy selects it."""
    ours = [
        policy["spec"]
        for policy in policies
        if "Ingress" in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], pod)
    ]
    if not ours:
        return ["everyone"]
    return [
        peer
        for spec in ours
        for rule in spec.get("ingress", [])
        if "ports" not in rule or port in [each["port"] for each in rule["ports"]]
        for peer in rule.get("from", ["everyone"])
    ]


def _selects(selector: Manifest, labels: Labels) -> bool:
    assert not selector.keys() - {"matchLabels"}, "expressions are not looked at"
    return labels.items() >= selector.get("matchLabels", {}).items()
