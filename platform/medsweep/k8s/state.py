"""The state of a sweep's jobs: phase, reason, node and time, from the objects in the cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from medsweep.k8s.client import Object
from medsweep.k8s.conventions import ADAPTER, CELL, PROFILE, QUEUE, ROLE, STAGE, SWEEP
from medsweep.k8s.diagnose import (
    cluster_reason,
    conditions_of,
    job_reason,
    pods_reason,
    queue_reason,
    service_reason,
)
from medsweep.k8s.resources import (
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    WORKLOADS,
    Resource,
)

Phase = Literal["waiting", "queued", "starting", "running", "ending", "done", "failed"]

OWNERS: tuple[Resource, ...] = (RAY_JOBS, RAY_SERVICES)
"""What a sweep creates; Ray clusters, submitters and pods belong to these and go with them."""

ACTIVE: tuple[Phase, ...] = ("queued", "starting", "running", "ending")
"""Phases of a job that counts against the capacity."""

_PHASES: dict[str, Phase] = {
    "": "starting",
    "Initializing": "starting",
    "Waiting": "starting",
    "Retrying": "starting",
    "Running": "running",
    "Suspending": "queued",
    "Suspended": "queued",
    "Complete": "done",
    "Failed": "failed",
    "ValidationFailed": "failed",
}
_METADATA = ("name", "uid", "labels", "ownerReferences", "deletionTimestamp")
_SPEC = ("suspend", "nodeName")
JOB_UID = "kueue.x-k8s.io/job-uid"


@dataclass(frozen=True)
class JobState:
    """One job, or one served model.

    Attributes:
        name: of the RayJob or RayService.
        stage: finetune, benchmark or serve.
        key: of the adapter or the cell.
        profile: hardware profile that it runs on.
        phase: that it is in.
        reason: why it does not proceed or failed, or which attempt it is at; None if its first
            attempt proceeds or succeeded.
        node: of its worker; None before it is scheduled.
        started: start time; None before it runs.
        seconds: from its start to its end; None before it ends.
    """

    name: str
    stage: str
    key: str
    profile: str
    phase: Phase
    reason: str | None = None
    node: str | None = None
    started: datetime | None = None
    seconds: float | None = None


class SweepObjects:
    """The objects of one sweep in the cluster, kept up to date by changes.

    Labels with stage and key connect a job or service with its Ray clusters and pods.
    """

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[str, Object]] = defaultdict(dict)
        self._by_key: dict[tuple[Resource, str], dict[str, Object]] = defaultdict(dict)
        self._name_of: dict[str, str] = {}  # of a job, by its uid
        self._job_of: dict[
            str, str
        ] = {}  # job's uid by its Ray cluster's, also once that is deleted

    def put(self, resource: Resource, name: str, value: Object | None) -> str | None:
        """Store an object, or remove it if it is None; return the name of its job, if any."""
        before = self._objects[resource].pop(name, None)
        if before is not None:
            self._by_key[resource, _join_key(resource, before)].pop(name, None)
        if value is not None:
            value = _slim(value)
            self._objects[resource][name] = value
            self._by_key[resource, _join_key(resource, value)][name] = value
        if resource in OWNERS:
            if value is not None:
                self._name_of[_uid(value)] = name
            return name
        if resource is RAY_CLUSTERS and value is not None and _owner(value):
            self._job_of[_uid(value)] = _owner(value)
        known = value or before
        if known is None:
            return None
        key = _join_key(resource, known)
        if resource is WORKLOADS:
            return self._name_of.get(key)
        return next((name for owner in OWNERS for name in self._by_key[owner, key]), None)

    def job(self, name: str) -> Object | None:
        """Return one RayJob."""
        return self._objects[RAY_JOBS].get(name)

    def states(self) -> list[JobState]:
        """Return the state of every job and service, by name."""
        names = [name for resource in OWNERS for name in self._objects[resource]]
        return [self.state(name) for name in sorted(names)]

    def state(self, name: str) -> JobState:
        """Return the state of one job or service."""
        started: datetime | None
        seconds: float | None
        job = self._objects[RAY_JOBS].get(name)
        if job is None:
            job = self._objects[RAY_SERVICES][name]
            phase, started, seconds = _service_phase(job), _ready_since(job), None
        else:
            phase = phase_of(job)
            started, seconds = _times(job.get("status") or {}, phase)
        labels = job["metadata"].get("labels", {})
        pods = self._parts(PODS, job)
        reasons = (_attempt(job, phase), self._reason(job, phase, pods))
        return JobState(
            name,
            labels.get(STAGE, ""),
            labels.get(CELL) or labels.get(ADAPTER) or "",
            labels.get(PROFILE, ""),
            phase,
            " | ".join(filter(None, reasons)) or None,
            _node(pods),
            started,
            seconds,
        )

    def _parts(self, resource: Resource, job: Object) -> list[Object]:
        """Return a job's objects, without those left over from an earlier job of the same name."""
        uid = _uid(job)
        return [
            part
            for part in self._by_key[resource, _join_key(RAY_JOBS, job)].values()
            if self._job_of.get(_owner(part) if resource is PODS else _uid(part), uid) == uid
        ]

    def _reason(self, job: Object, phase: Phase, pods: Iterable[Object]) -> str | None:
        upgrades = phase == "running" and _is_upgrading(job)
        if phase in ("done", "running") and not upgrades:
            return None
        queue = job["metadata"].get("labels", {}).get(QUEUE)
        if phase == "queued" and queue:
            # What its pods of an earlier admission say is over.
            workloads = self._by_key[WORKLOADS, _uid(job)].values()
            return queue_reason(queue, next(iter(workloads), None))
        reason = pods_reason(pods)
        if reason is None:
            clusters = self._parts(RAY_CLUSTERS, job)
            reason = next(filter(None, map(cluster_reason, clusters)), None)
        if upgrades:
            return f"upgrade: {reason or service_reason(job) or 'a second cluster starts'}"
        if phase == "failed":
            parts = (reason, job_reason(job))
            return " | ".join(part for part in parts if part) or "no reason given"
        return reason or service_reason(job)


def _attempt(job: Object, phase: Phase) -> str | None:
    """Return which attempt a job is at, if one has failed; KubeRay then clears its reason."""
    status = job.get("status") or {}
    failed = status.get("failed")
    if not failed or phase not in ("starting", "running"):
        return None
    if status.get("jobDeploymentStatus") == "Retrying":
        return f"attempt {failed} failed: {job_reason(job) or 'no reason given'}"
    return f"attempt {failed + 1}"


def selector_of_parts(job: Object) -> str:
    """Return the label selector of a RayJob's Ray clusters and pods."""
    labels = job["metadata"]["labels"]
    return ",".join(
        f"{key}={labels[key]}" for key in (SWEEP, STAGE, CELL, ADAPTER) if key in labels
    )


def is_answered(job: Object | None) -> bool:
    """Whether KubeRay's operator has reacted to a RayJob: it has a status, or is deleted."""
    return job is None or bool((job.get("status") or {}).get("jobDeploymentStatus"))


def phase_of(job: Object) -> Phase:
    """Return the phase of a RayJob."""
    if job["metadata"].get("deletionTimestamp"):
        return "ending"
    status = job.get("status") or {}
    phase = _PHASES.get(status.get("jobDeploymentStatus") or "", "starting")
    if phase == "done" and status.get("jobStatus") in ("FAILED", "STOPPED"):
        return "failed"
    if phase == "starting" and job.get("spec", {}).get("suspend"):
        return "queued"
    return phase


def _service_phase(service: Object) -> Phase:
    if service["metadata"].get("deletionTimestamp"):
        return "ending"
    if service.get("spec", {}).get("suspend"):
        return "queued"
    return "starting" if _ready_since(service) is None else "running"


def _ready_since(service: Object) -> datetime | None:
    """Return since when a RayService answers; None if it does not."""
    ready = _true_condition(service, "Ready")
    return None if ready is None else _instant(ready.get("lastTransitionTime"))


def _is_upgrading(service: Object) -> bool:
    """Whether a RayService starts a second cluster, while the first one answers."""
    return _true_condition(service, "UpgradeInProgress") is not None


def _true_condition(value: Object, kind: str) -> Object | None:
    condition = conditions_of(value).get(kind)
    return condition if condition is not None and condition["status"] == "True" else None


def _slim(value: Object) -> Object:
    """Return only the parts of an object that are used, to save memory with 10,000 jobs."""
    metadata, spec = value["metadata"], value.get("spec") or {}
    # Kueue suspends a RayService by its cluster.
    spec = {**(spec.get("rayClusterConfig") or {}), **spec}
    return {
        "metadata": {name: metadata[name] for name in _METADATA if name in metadata},
        "spec": {name: spec[name] for name in _SPEC if name in spec},
        "status": value.get("status") or {},
    }


def _join_key(resource: Resource, value: Object) -> str:
    """Return what an object shares with its job: stage and key, or for a workload the job's uid."""
    labels: Mapping[str, str] = value["metadata"].get("labels") or {}
    if resource is WORKLOADS:
        return labels.get(JOB_UID, "")
    return f"{labels.get(STAGE)}/{labels.get(CELL) or labels.get(ADAPTER)}"


def _uid(value: Object) -> str:
    return str(value["metadata"].get("uid", ""))


def _owner(value: Object) -> str:
    """Return the uid of an object's owner; empty if it has none."""
    return next((str(each["uid"]) for each in value["metadata"].get("ownerReferences", [])), "")


def _node(pods: Iterable[Object]) -> str | None:
    for pod in pods:
        if pod["metadata"].get("labels", {}).get(ROLE) == "worker":
            node: str | None = pod.get("spec", {}).get("nodeName")
            return node
    return None


def _times(status: Mapping[str, str], phase: Phase) -> tuple[datetime | None, float | None]:
    start, end = _instant(status.get("startTime")), _instant(status.get("endTime"))
    if start is None or end is None or phase not in ("done", "failed"):
        return start, None
    return start, (end - start).total_seconds()


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
