"""What KubeRay's and Kueue's controllers refuse, and no CRD says; each as a sentence.

From KubeRay's `validation.go` (ray-operator/controllers/ray/utils) and Kueue's documentation of
RayJobs, "Limitations".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]

QUEUE = "kueue.x-k8s.io/queue-name"
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(f"({_KEY})?")
_QUALIFIED = re.compile(rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_KEY}")
_START_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")
_LONGEST_NAME = 47


def broken(manifest: Manifest) -> list[str]:
    """Return the rules that a RayJob or a RayService breaks."""
    spec = manifest["spec"]
    broken_rules = list(_metadata(manifest["metadata"]))
    if manifest["kind"] == "RayJob":
        broken_rules += [*_job(spec), *_cluster(spec.get("rayClusterSpec", {}))]
    else:
        broken_rules += [*_service(spec), *_cluster(spec["rayClusterConfig"])]
    if QUEUE in manifest["metadata"].get("labels", {}):
        broken_rules += _queued(spec)
    return broken_rules


def _metadata(metadata: Manifest) -> Iterator[str]:
    name = metadata["name"]
    if len(name) > _LONGEST_NAME:
        yield f"name has more than {_LONGEST_NAME} characters"
    if not _DNS_1035.fullmatch(name):
        yield "name is not a DNS label"
    for key, value in metadata.get("labels", {}).items():
        if not (_QUALIFIED.fullmatch(key) and _LABEL.fullmatch(value)):
            yield f"label {key}={value} is not one"


def _job(spec: Manifest) -> Iterator[str]:
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    strategy = spec.get("deletionStrategy")
    mode = spec.get("submissionMode", "K8sJobMode")
    if spec.get("ttlSecondsAfterFinished", 0) < 0:
        yield "ttlSecondsAfterFinished is negative"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shutdown:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if spec.get("suspend") and not shutdown:
        yield "suspend needs shutdownAfterJobFinishes"
    if strategy is not None and shutdown and strategy.get("deletionRules"):
        yield "deletionRules exclude shutdownAfterJobFinishes"
    if "rayClusterSpec" not in spec and "clusterSelector" not in spec:
        yield "neither rayClusterSpec nor clusterSelector"
    if mode not in ("K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"):
        yield f"no submissionMode {mode}"
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "InteractiveMode excludes backoffLimit"
    if mode == "SidecarMode" and ({"submitterPodTemplate", "submitterConfig"} & spec.keys()):
        yield "SidecarMode excludes a submitter of one's own"
    for deadline in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(deadline, 1) <= 0:
            yield f"{deadline} is not positive"
    if spec.get("backoffLimit", 0) < 0:
        yield "backoffLimit is negative"
    template = spec.get("submitterPodTemplate")
    if template and template["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
        yield "the submitter, a Job's pod, needs restartPolicy Never or OnFailure"


def _service(spec: Manifest) -> Iterator[str]:
    if spec["rayClusterConfig"].get("headGroupSpec", {}).get("headService", {}).get("name"):
        yield "headService has a name"
    if json.loads(spec["serveConfigV2"]).get("proxy_location") == "HeadOnly":
        yield "HeadOnly leaves workers unready, whose probe asks their own proxy"
    kind = spec.get("upgradeStrategy", {}).get("type", "NewCluster")
    if kind not in ("None", "NewCluster", "NewClusterWithIncrementalUpgrade"):
        yield f"no upgradeStrategy {kind}"
    if spec.get("rayClusterDeletionDelaySeconds", 0) < 0:
        yield "rayClusterDeletionDelaySeconds is negative"


def _cluster(cluster: Manifest) -> Iterator[str]:
    head = cluster.get("headGroupSpec", {})
    if not cluster.get("rayVersion"):
        yield "no rayVersion"
    # Not refused, but anyone who reaches the cluster could then run code in it.
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "no token in authOptions"
    for name, group in _groups(cluster):
        start = group.get("rayStartParams", {})
        if group.get("resources") and any(start.get(field) for field in _START_RESOURCES):
            yield f"{name}: resources stand in rayStartParams too"
        if not start:
            yield f"{name}: no rayStartParams, which Kueue's webhook turns into null"
        if "labels" in start:
            yield f"{name}: labels stand in rayStartParams"
        if not group["template"]["spec"].get("containers"):
            yield f"{name}: no container"
        for key, value in group.get("labels", {}).items():
            if not (_QUALIFIED.fullmatch(key) and _LABEL.fullmatch(value)):
                yield f"{name}: label {key}={value} is not one"
        if group.get("suspend"):
            yield f"{name}: is suspended"
    for group in cluster.get("workerGroupSpecs", []):
        # Not refused, but a second apply would be (seen with the operator 1.7.0).
        if "scaleStrategy" not in group:
            yield f"{group['groupName']}: no scaleStrategy, by which the operator owns the groups"
    variables = {
        each["name"]: each.get("value")
        for container in head.get("template", {}).get("spec", {}).get("containers", [])[:1]
        for each in container.get("env", [])
    }
    if not cluster.get("enableInTreeAutoscaling") and variables.get("RAY_enable_autoscaler_v2") in (
        "1",
        "true",
    ):
        yield "RAY_enable_autoscaler_v2 without enableInTreeAutoscaling"
    if "gcsFaultToleranceOptions" not in cluster and "RAY_REDIS_ADDRESS" in variables:
        yield "RAY_REDIS_ADDRESS without gcsFaultToleranceOptions"


def _groups(cluster: Manifest) -> Iterator[tuple[str, Manifest]]:
    if "headGroupSpec" in cluster:
        yield "head", cluster["headGroupSpec"]
    for group in cluster.get("workerGroupSpecs", []):
        yield group["groupName"], group


def _queued(spec: Manifest) -> Iterator[str]:
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or {}
    if "rayClusterSpec" in spec and not spec.get("shutdownAfterJobFinishes"):
        yield "Kueue needs shutdownAfterJobFinishes"
    if "clusterSelector" in spec:
        yield "Kueue excludes clusterSelector"
    if "deletionStrategy" in spec:
        yield "Kueue excludes deletionStrategy"
    if cluster.get("enableInTreeAutoscaling"):
        yield "Kueue excludes autoscaling"
    if len(cluster.get("workerGroupSpecs", [])) > 7:
        yield "Kueue takes 7 worker groups at most"
