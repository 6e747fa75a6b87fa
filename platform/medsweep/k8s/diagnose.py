"""Why a job does not proceed, in words: from its pods, its Ray cluster and its queue."""

from __future__ import annotations

import re
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
_FAILURES = ("DEPLOY_FAILED", "UNHEALTHY")
_LONGEST = 300
# Kueue names every flavor that a pod set does not select, before the one whose quota is used up.
_OTHER_POOLS = re.compile(r"flavor \S+ doesn't match node affinity, ")
# ECMA-48 control sequences, operating system commands, and single control characters but tab and
# line feed.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def conditions_of(value: Object | None) -> dict[str, Object]:
    """Return an object's conditions by their type."""
    status = (value or {}).get("status") or {}
    return {each["type"]: each for each in status.get("conditions") or []}


def pods_reason(pods: Iterable[Object]) -> str | None:
    """Return what keeps a job's pods from running, or what ended them; None if nothing does."""
    return next((reason for pod in pods for reason in _pod_reasons(pod)), None)


def cluster_reason(cluster: Object) -> str | None:
    """Return what keeps a Ray cluster from getting its pods, such as a quota.

    Args:
        cluster: a RayCluster.
    """
    failure = conditions_of(cluster).get("ReplicaFailure") or {}
    if failure.get("status") != "True":
        return None
    message = _short(failure.get("message") or failure.get("reason") or "")
    return f"quota: {message}" if "exceeded quota" in message else message


def queue_reason(queue: str, workload: Object | None) -> str:
    """Return what a job that Kueue suspends waits for.

    Args:
        queue: name of its LocalQueue.
        workload: Kueue's Workload of the job; None if Kueue has not made it yet, or it cannot be
            read.
    """
    conditions = conditions_of(workload)
    reserved = conditions.get("QuotaReserved") or {}
    if reserved.get("status") == "True":
        return f"waiting for the admission checks of queue {queue}; its quota is reserved"
    parts = [f"waiting for quota in queue {queue}"]
    evicted = conditions.get("Evicted") or {}
    if evicted.get("status") == "True":
        parts.append(f"evicted ({evicted.get('reason')}): {evicted.get('message') or ''}")
    if reserved.get("message"):
        parts.append(_OTHER_POOLS.sub("", reserved["message"]))
    return _short(": ".join(parts))


def job_reason(job: Object) -> str | None:
    """Return the reason that a failed RayJob gives itself."""
    status = job.get("status", {})
    parts = [str(status[name]) for name in ("reason", "message") if status.get(name)]
    return _short(": ".join(parts)) or None


def service_reason(service: Object) -> str | None:
    """Return why a RayService does not answer, from its applications and its conditions."""
    status = service.get("status") or {}
    applications = [
        application
        for part in ("pendingServiceStatus", "activeServiceStatus")
        for application in ((status.get(part) or {}).get("applicationStatuses") or {}).values()
    ]
    for application in applications:
        if application.get("status") in _FAILURES:
            # Ray's own message says only which deployments have failed.
            reason = _deployment_reason(application) or _ends(application.get("message") or "")
            return f"{application['status']}: {reason}"
    ready = conditions_of(service).get("Ready") or {}
    if ready.get("status") == "True":
        return None
    for application in applications:
        if (pending := _deployment_reason(application)) is not None:
            return pending
    return _short(ready.get("message") or ready.get("reason") or "") or None


def _deployment_reason(application: Object) -> str | None:
    """Return why an application's deployment does not run, of a failed one first."""
    deployments = (application.get("serveDeploymentStatuses") or {}).items()
    reasons = [
        (each.get("status") not in _FAILURES, f"{name}: {_ends(each['message'])}")
        for name, each in deployments
        if each.get("message") and each.get("status") != "HEALTHY"
    ]
    return min(reasons, key=lambda reason: reason[0])[1] if reasons else None


def _pod_reasons(pod: Object) -> Iterator[str]:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    scheduled = conditions_of(pod).get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        message = _short(scheduled.get("message") or "")
        yield f"{name}: no node can run it ({scheduled.get('reason')}): {message}"
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


def _ends(message: str) -> str:
    """Return first and last line of a message, since a traceback ends with its cause."""
    lines = [line for line in without_controls(message).splitlines() if line.strip()]
    return _short(" … ".join(lines if len(lines) < 3 else [lines[0], lines[-1]]))


def without_controls(text: str) -> str:
    """Return text that cannot steer a terminal."""
    return _CONTROL.sub("", text)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
