"""Pod templates: head, worker and submitter."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from medsweep.cluster.local import ENVIRONMENT
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.conventions import (
    CONTAINER_SECURITY,
    GPU,
    NO_GPU,
    POD_SECURITY,
    ROLE,
    image_reference,
)
from medsweep.k8s.settings import RESULTS_MOUNT, ClusterSettings, ImageFamily

HOME = "/opt/medsweep"
"""Folder of the images that holds `jobs/`."""

METRICS_PORT = 9464
SERVE_PORT = 8000
_CACHE_MOUNT = "/cache"

Manifest = dict[str, Any]

NO_DRAIN: Manifest = {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": "0"}
"""Variable of a job's pods: a terminated one ends at once. Ray would wait up to 30 s for requests,
which a served model has and a job that is over has not, and hold its GPUs meanwhile."""


def head_template(
    settings: ClusterSettings,
    labels: Mapping[str, str],
    environment: Sequence[Manifest],
    *,
    serves: bool = False,
) -> Manifest:
    """Return the pod template of the head, which runs driver and load generator in the CPU pool.

    Args:
        settings: of the cluster.
        labels: of the pod.
        environment: variables that the driver needs.
        serves: whether clients reach a served model through it.
    """
    ports = {"gcs-server": 6379, "client": 10001, "dashboard": 8265}
    ports |= {"as-metrics": 44217, "dash-metrics": 44227}
    ports |= {"serve": SERVE_PORT} if serves else {"medsweep": METRICS_PORT}
    resources = {"cpu": str(settings.head_cpus), "memory": f"{settings.head_memory_gib}Gi"}
    container = _container(settings, "ray-head", "cpu", resources, environment)
    container["ports"] = [{"name": name, "containerPort": ports[name]} for name in ports]
    return _template(settings, {**labels, ROLE: "head"}, container, NO_GPU)


def worker_template(
    settings: ClusterSettings,
    labels: Mapping[str, str],
    profile: HardwareProfile,
    family: ImageFamily,
    environment: Sequence[Manifest],
) -> Manifest:
    """Return the pod template of a worker with the CPUs, memory and GPUs of a hardware profile.

    Args:
        settings: of the cluster.
        labels: of the pod.
        profile: whose hardware the pod requests.
        family: of the image.
        environment: variables that the model needs.
    """
    resources = {"cpu": str(profile.cpus), "memory": f"{profile.host_memory_bytes // GIB}Gi"}
    if profile.gpus:
        resources["nvidia.com/gpu"] = str(profile.gpus)
    container = _container(settings, "ray-worker", family, resources, environment)
    template = _template(settings, {**labels, ROLE: "worker"}, container, profile.labels[GPU])
    if profile.gpus and settings.runtime_class is not None:
        template["spec"]["runtimeClassName"] = settings.runtime_class
    if not profile.gpus:
        # It shares the CPU pool with the load generators, but must not share a node with one.
        template["spec"]["affinity"] = _apart_from("head")
    return template


def load_template(settings: ClusterSettings, labels: Mapping[str, str]) -> Manifest:
    """Return the pod template of one shard of the load generator, in the CPU pool.

    It shares no node with what is measured, which on a profile without GPUs is in the same pool.
    """
    # The shard takes one CPU; Ray's own processes on the node take part of the other.
    resources = {"cpu": "2", "memory": "4Gi"}
    container = _container(settings, "ray-worker", "cpu", resources, [NO_DRAIN])
    template = _template(settings, {**labels, ROLE: "load"}, container, NO_GPU)
    template["spec"]["affinity"] = _apart_from("worker")
    return template


def _apart_from(role: str) -> Manifest:
    """Return the affinity of a pod that shares no node with those of a role."""
    apart = {
        "labelSelector": {"matchLabels": {ROLE: role}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}


def submitter_template(settings: ClusterSettings, labels: Mapping[str, str]) -> Manifest:
    """Return the pod template of the submitter; KubeRay's own would run as root."""
    container = {
        "name": "ray-job-submitter",
        "image": image_reference(settings, "cpu"),
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 the pod's own
        "resources": _guaranteed({"cpu": "500m", "memory": "512Mi"}),
        "securityContext": copy.deepcopy(CONTAINER_SECURITY),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    spec = _spec(settings, container, NO_GPU)
    spec["restartPolicy"] = "Never"
    spec["volumes"] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    return {"metadata": {"labels": {**labels, ROLE: "submitter"}}, "spec": spec}


def _template(
    settings: ClusterSettings, labels: Mapping[str, str], container: Manifest, gpu: str
) -> Manifest:
    spec = _spec(settings, container, gpu)
    spec["volumes"] = _volumes(settings)
    return {
        "metadata": {
            "labels": dict(labels),
            # A measurement whose pod is moved is lost.
            "annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                "karpenter.sh/do-not-disrupt": "true",
            },
        },
        "spec": spec,
    }


def _spec(settings: ClusterSettings, container: Manifest, gpu: str) -> Manifest:
    spec: Manifest = {
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": copy.deepcopy(POD_SECURITY),
        "nodeSelector": {GPU: gpu},
        "containers": [container],
    }
    if settings.image_pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": settings.image_pull_secret}]
    if tolerations := tolerations_of(settings, gpu):
        spec["tolerations"] = tolerations
    return spec


def tolerations_of(settings: ClusterSettings, gpu: str) -> list[Manifest]:
    """Return the tolerations of a pod.

    Args:
        settings: of the cluster.
        gpu: label of the pod's pool.
    """
    pool: list[Manifest] = [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": GPU, "operator": "Equal", "value": gpu, "effect": "NoSchedule"},
    ]
    given = [each.model_dump(exclude_none=True) for each in settings.tolerations]
    return [*(pool if gpu != NO_GPU else []), *given]


def _container(
    settings: ClusterSettings,
    name: str,
    family: ImageFamily,
    resources: Mapping[str, str],
    environment: Sequence[Manifest],
) -> Manifest:
    variables = {
        **ENVIRONMENT,
        "RAY_COLOR_PREFIX": "0",  # no escape sequences in logs
        "HOME": "/tmp",  # noqa: S108 the pod's own
        "HF_HOME": f"{_CACHE_MOUNT}/huggingface",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MEDSWEEP_CACHE": f"{_CACHE_MOUNT}/medsweep",
    }
    if settings.results_claim is None:
        # All pods of a job share its copy of the object store's folders.
        variables["TMPDIR"] = _CACHE_MOUNT
    container: Manifest = {
        "name": name,
        "image": image_reference(settings, family),
        "imagePullPolicy": "IfNotPresent",
        "env": [*({"name": key, "value": value} for key, value in variables.items()), *environment],
        "resources": _guaranteed(resources),
        "securityContext": copy.deepcopy(CONTAINER_SECURITY),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "cache", "mountPath": _CACHE_MOUNT},
        ],
    }
    if settings.results_claim is not None:
        container["volumeMounts"].append({"name": "results", "mountPath": RESULTS_MOUNT})
    if settings.results_secret is not None:
        container["envFrom"] = [{"secretRef": {"name": settings.results_secret}}]
    return container


def _volumes(settings: ClusterSettings) -> list[Manifest]:
    scratch = {"emptyDir": {"sizeLimit": f"{settings.scratch_gib}Gi"}}
    cache = scratch
    if settings.model_cache_claim is not None:
        cache = {"persistentVolumeClaim": {"claimName": settings.model_cache_claim}}
    volumes = [{"name": "tmp", **copy.deepcopy(scratch)}, {"name": "cache", **copy.deepcopy(cache)}]
    if settings.results_claim is not None:
        claim = {"claimName": settings.results_claim}
        volumes.append({"name": "results", "persistentVolumeClaim": claim})
    return volumes


def _guaranteed(amounts: Mapping[str, str]) -> Manifest:
    """Return requests equal to limits, so that the pod gets exactly these amounts."""
    return {"requests": dict(amounts), "limits": dict(amounts)}
