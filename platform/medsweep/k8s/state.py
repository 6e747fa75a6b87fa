"""Where a sweep's jobs are: phase, reason, node and time of each, from what the cluster says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from medsweep.k8s.client import Object
from medsweep.k8s.conventions import ADAPTER, CELL, PROFILE, ROLE, STAGE, SWEEP
from medsweep.k8s.diagnose import (
    cluster_reason,
    job_reason,
    pods_reason,
    workload_reason,
)
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS, WORKLOADS, Resource

Phase = Literal["waiting", "queued", "starting", "running", "ending", "done", "failed"]

ACTIVE: tuple[Phase, ...] = ("queued", "starting", "running", "ending")
"""Phases of a job that holds its place, or will without a further word."""

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
    """One job.

    Attributes:
        name: of the RayJob.
        stage: finetune or benchmark.
        key: of the adapter or the cell.
        profile: hardware profile that it runs on.
        phase: where it is.
        reason: why it does not go on or failed; None where there is nothing to say.
        node: where its worker is; None before it is scheduled.
        started: when it began to run; None before.
        seconds: from its start to its end; None unless it is over.
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


class Seen:
    """What the cluster holds of one sweep, kept up to date by changes.

    Jobs, Ray clusters and pods carry the stage and the key as labels: that is how they are joined.
    """

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[str, Object]] = defaultdict(dict)
        self._parts: dict[tuple[Resource, str], dict[str, Object]] = defaultdict(dict)
        self._by_uid: dict[str, str] = {}
        self._job_of: dict[str, str] = {}  # of a Ray cluster, uid by uid; also once it is gone

    def put(self, resource: Resource, name: str, value: Object | None) -> str | None:
        """Take one object in, or out; return the name of the job that it belongs to, if any."""
        before = self._objects[resource].pop(name, None)
        if before is not None:
            self._parts[resource, _belongs(resource, before)].pop(name, None)
        if value is not None:
            value = _slim(value)
            self._objects[resource][name] = value
            self._parts[resource, _belongs(resource, value)][name] = value
        if resource is RAY_JOBS:
            if value is not None:
                self._by_uid[_uid(value)] = name
            return name
        if resource is RAY_CLUSTERS and value is not None and _owner(value):
            self._job_of[_uid(value)] = _owner(value)
        known = value or before
        if known is None:
            return None
        belongs = _belongs(resource, known)
        if resource is WORKLOADS:
            return self._by_uid.get(belongs)
        return next(iter(self._parts[RAY_JOBS, belongs]), None)

    def job(self, name: str) -> Object | None:
        """Return one RayJob."""
        return self._objects[RAY_JOBS].get(name)

    def states(self) -> list[JobState]:
        """Return every job's state, by name."""
        return [self.state(name) for name in sorted(self._objects[RAY_JOBS])]

    def state(self, name: str) -> JobState:
        """Return one job's state."""
        job = self._objects[RAY_JOBS][name]
        labels, phase = job["metadata"].get("labels", {}), phase_of(job)
        pods = self._of(PODS, job)
        return JobState(
            name,
            labels.get(STAGE, ""),
            labels.get(CELL) or labels.get(ADAPTER) or "",
            labels.get(PROFILE, ""),
            phase,
            self._reason(job, phase, pods),
            _node(pods),
            *_times(job.get("status") or {}, phase),
        )

    def _of(self, resource: Resource, job: Object) -> list[Object]:
        """Return a job's parts, without those of an earlier job of its name, which end slowly."""
        uid = _uid(job)
        return [
            each
            for each in self._parts[resource, _belongs(RAY_JOBS, job)].values()
            if self._job_of.get(_owner(each) if resource is PODS else _uid(each), uid) == uid
        ]

    def _reason(self, job: Object, phase: Phase, pods: Iterable[Object]) -> str | None:
        if phase in ("done", "running"):
            return None
        found = pods_reason(pods)
        if found is None:
            found = next(filter(None, map(cluster_reason, self._of(RAY_CLUSTERS, job))), None)
        if phase == "failed":
            own = job_reason(job)
            return " | ".join(part for part in (found, own) if part) or "no reason given"
        if found is None:
            workloads = self._parts[WORKLOADS, _uid(job)].values()
            found = next(filter(None, map(workload_reason, workloads)), None)
        return found


def selector_of_parts(job: Object) -> str:
    """Return the label selector of a RayJob's Ray clusters and pods."""
    labels = job["metadata"]["labels"]
    return ",".join(
        f"{key}={labels[key]}" for key in (SWEEP, STAGE, CELL, ADAPTER) if key in labels
    )


def phase_of(job: Object) -> Phase:
    """Return where a RayJob is."""
    if job["metadata"].get("deletionTimestamp"):
        return "ending"
    status = job.get("status") or {}
    phase = _PHASES.get(status.get("jobDeploymentStatus") or "", "starting")
    if phase == "done" and status.get("jobStatus") in ("FAILED", "STOPPED"):
        return "failed"
    if phase == "starting" and job.get("spec", {}).get("suspend"):
        return "queued"
    return phase


def _slim(value: Object) -> Object:
    """Return the parts of an object that are looked at: of 10,000 jobs the rest is much."""
    metadata, spec = value["metadata"], value.get("spec") or {}
    return {
        "metadata": {name: metadata[name] for name in _METADATA if name in metadata},
        "spec": {name: spec[name] for name in _SPEC if name in spec},
        "status": value.get("status") or {},
    }


def _belongs(resource: Resource, value: Object) -> str:
    """Return what joins an object with its job: stage and key, or the job's uid for a workload."""
    labels: Mapping[str, str] = value["metadata"].get("labels") or {}
    if resource is WORKLOADS:
        return labels.get(JOB_UID, "")
    return f"{labels.get(STAGE)}/{labels.get(CELL) or labels.get(ADAPTER)}"


def _uid(value: Object) -> str:
    return str(value["metadata"].get("uid", ""))


def _owner(value: Object) -> str:
    """Return the uid of what an object goes with; empty for none."""
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
