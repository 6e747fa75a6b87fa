"""Why a job does not proceed, in words: from its pods, its Ray cluster and its queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Object = dict[str, Any]

_WAITING = {
    "ImagePullBackOff": "its image cannot be pulled; check image, tag and pull secret",
    "ErrImagePull": "its image cannot be pulled; check image, tag and pull secret",
    "InvalidImageName": "its image name is invalid",
    "CreateContainerConfigError": "a secret or config map that it needs does not exist",
    "CrashLoopBackOff": "its container keeps crashing; see `medsweep k8s logs`",
}
_ENDED = {
    "OOMKilled": "it needed more memory than the profile has and was killed (OOMKilled)",
    "Evicted": "its node ran short of a resource and evicted it",
}
_APPLICATION_FAILURES = ("DEPLOY_FAILED", "UNHEALTHY")
_LONGEST = 300


def pods_reason(pods: Iterable[Object]) -> str | None:
    """Return what keeps a job's pods from running, or what ended them; None if nothing does."""
    return next((reason for pod in pods for reason in _pod_reasons(pod)), None)


def cluster_reason(cluster: Object) -> str | None:
    """Return what keeps a Ray cluster from getting its pods, such as a quota.

    Args:
        cluster: a RayCluster.
    """
    for condition in cluster.get("status", {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = _short(condition.get("message") or condition.get("reason") or "")
            return f"quota: {message}" if "exceeded quota" in message else message
    return None


def workload_reason(workload: Object) -> str | None:
    """Return what a job waits for in its queue, or None once it is admitted.

    Args:
        workload: Kueue's Workload of the job.
    """
    for condition in workload.get("status", {}).get("conditions") or []:
        if condition["type"] == "QuotaReserved" and condition["status"] != "True":
            return f"in the queue: {_short(condition.get('message') or 'not admitted yet')}"
    return None


def job_reason(job: Object) -> str | None:
    """Return the reason that a failed RayJob gives itself."""
    status = job.get("status", {})
    parts = [str(status[name]) for name in ("reason", "message") if status.get(name)]
    return _short(": ".join(parts)) or None


def service_reason(service: Object) -> str | None:
    """Return why a RayService does not answer, from its applications and its conditions."""
    status = service.get("status") or {}
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        for application in ((status.get(part) or {}).get("applicationStatuses") or {}).values():
            if application.get("status") in _APPLICATION_FAILURES:
                return f"{application['status']}: {_short(application.get('message') or '')}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] != "True":
            return _short(condition.get("message") or condition.get("reason") or "") or None
    return None


def _pod_reasons(pod: Object) -> Iterator[str]:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = _short(condition.get("message") or "")
            yield f"{name}: no node can run it ({condition.get('reason')}): {message}"
    if status.get("phase") == "Failed" and status.get("reason"):
        yield f"{name}: {_ENDED.get(status['reason'], status['reason'])}"
    for container in (status.get("initContainerStatuses") or []) + (
        status.get("containerStatuses") or []
    ):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            if waiting.get("reason") in _WAITING:
                message = f": {_short(waiting['message'])}" if waiting.get("message") else ""
                yield f"{name}: {waiting['reason']}: {_WAITING[waiting['reason']]}{message}"
            if ended.get("reason") in _ENDED:
                yield f"{name}: {_ENDED[ended['reason']]}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
