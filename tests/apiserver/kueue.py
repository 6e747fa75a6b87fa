"""Plays Kueue for RayJobs: its webhook, its queues, their quotas, and what a cohort lends.

From Kueue's `pkg/controller/jobframework/reconciler.go`, `jobs/rayjob` and `podset.go`; what a
queue may use is from `pkg/cache/scheduler/resource_node.go`, for cohorts without a parent and
without preemption. Of the jobs that fit, those that borrow nothing come first. The webhook
suspends a job that names a queue. Admission removes `suspend` and merges labels, annotations and
the flavor's node labels into every pod template, in one patch. Kueue then owns those fields,
and the whole list of worker groups, which is atomic. Eviction suspends the job and takes back what
was merged.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kubernetes.utils import parse_quantity

from medsweep.k8s.client import Api, Request
from medsweep.k8s.conventions import QUEUE
from medsweep.k8s.resources import CRDS, LOCAL_QUEUES, RAY_JOBS, WORKLOADS, Resource
from medsweep.k8s.state import JOB_UID, phase_of
from medsweep.k8s.submit import OVER

Object = dict[str, Any]
Usage = dict[tuple[str, str], Decimal]
"""Amounts by flavor and resource."""

MANAGER = "kueue"
_NONE = Decimal(0)
PODSET = "kueue.x-k8s.io/podset"
CLUSTER_QUEUES = Resource("kueue.x-k8s.io", "v1beta2", "clusterqueues", "ClusterQueue", False)
FLAVORS = Resource("kueue.x-k8s.io", "v1beta2", "resourceflavors", "ResourceFlavor", False)

WORKLOAD_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workloads.kueue.x-k8s.io"},
    "spec": {
        "group": WORKLOADS.group,
        "names": {"kind": WORKLOADS.kind, "plural": WORKLOADS.plural},
        "scope": "Namespaced",
        "versions": [{"name": WORKLOADS.version, "served": True}],
    },
}


def suspend_queued(value: Object) -> None:
    """Do what the webhook does with an object that is being created."""
    if value["kind"] == "RayJob" and QUEUE in value["metadata"].get("labels", {}):
        value["spec"]["suspend"] = True


class Kueue:
    """Admits the RayJobs of some namespaces.

    Args:
        api: the API server, with all rights.
        namespaces: of the jobs.
    """

    def __init__(self, api: Api, *namespaces: str) -> None:
        self._api, self._namespaces = api, namespaces
        api.create(CRDS, "", copy.deepcopy(WORKLOAD_CRD))
        self._used: dict[str, tuple[str, Usage]] = {}  # of admitted jobs, by uid
        self._evicted: dict[str, Object] = {}  # conditions, by uid
        self._templates: dict[str, Object] = {}  # of jobs before their admission, by uid

    def schedule(self) -> None:
        """Release what ended jobs used, and admit in order of their names the jobs that fit.

        Those that must borrow come after those that need not.
        """
        jobs = [job for space in self._namespaces for job in self._api.objects(RAY_JOBS, space)]
        active = {job["metadata"]["uid"] for job in jobs if phase_of(job) not in OVER}
        self._used = {uid: used for uid, used in self._used.items() if uid in active}
        for borrow in (False, True):
            for job in jobs:
                uid = job["metadata"]["uid"]
                if QUEUE in job["metadata"]["labels"] and uid in active and uid not in self._used:
                    self._consider(job, borrow=borrow)

    def evict(self, job: Object, reason: str, message: str) -> None:
        """Take an admitted job's quota away."""
        uid = job["metadata"]["uid"]
        del self._used[uid]
        self._evicted[uid] = _condition("Evicted", "True", reason, message)
        self._report(job, _condition("QuotaReserved", "False", "Suspended", message))
        self._patch(job, {"suspend": True, **self._templates.pop(uid)})

    def _consider(self, job: Object, *, borrow: bool) -> None:
        metadata = job["metadata"]
        queue = metadata["labels"][QUEUE]
        local = self._api.get(LOCAL_QUEUES, metadata["namespace"], queue)
        if local is None:
            message = f"LocalQueue {queue} doesn't exist"
            self._report(job, _condition("QuotaReserved", "False", "Misconfigured", message))
            return
        name = local["spec"]["clusterQueue"]
        needed = self._needed(job)
        message = self._shortage(job, name, borrow=borrow)
        if message is not None:
            self._report(job, _condition("QuotaReserved", "False", "WaitingForQuota", message))
            return
        self._used[metadata["uid"]] = (name, needed)
        self._evicted.pop(metadata["uid"], None)
        self._report(job, _condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved"))
        self._start(job, name)

    def _shortage(self, job: Object, queue: str, *, borrow: bool) -> str | None:
        """Return what a queue lacks for a job, in Kueue's words; None if it fits."""
        unused = self._unused(queue, borrow=borrow)
        flavors = sorted({flavor for flavor, _ in unused})
        for name, count, template in _pod_sets(job["spec"]):
            own = self._flavor_of(template["spec"])["metadata"]["name"]
            reasons = [f"flavor {each} doesn't match node affinity" for each in flavors]
            reasons.remove(f"flavor {own} doesn't match node affinity")
            fits = True
            for resource, amount in _requests(template["spec"], count).items():
                unused[own, resource] -= amount
                if unused[own, resource] < 0:
                    fits = False
                    reasons.append(
                        f"insufficient unused quota for {resource} in flavor {own}, "
                        f"{-unused[own, resource]} more needed"
                    )
            if not fits:
                return f"couldn't assign flavors to pod set {name}: {', '.join(reasons)}"
        return None

    def _start(self, job: Object, queue: str) -> None:
        """Let a job run with the labels, annotations and node labels of its pod sets."""
        spec = {name: job["spec"][name] for name in ("rayClusterSpec", "submitterPodTemplate")}
        self._templates[job["metadata"]["uid"]] = copy.deepcopy(spec)
        for name, _, template in _pod_sets(spec):
            metadata, pod = template["metadata"], template["spec"]
            metadata.setdefault("labels", {}).update(
                {
                    PODSET: name,
                    f"{WORKLOADS.group}/cluster-queue-name": queue,
                    f"{WORKLOADS.group}/local-queue-name": job["metadata"]["labels"][QUEUE],
                }
            )
            metadata.setdefault("annotations", {})[f"{WORKLOADS.group}/workload"] = _name(job)
            selector = pod.setdefault("nodeSelector", {})
            for key, value in self._flavor_of(pod)["spec"]["nodeLabels"].items():
                assert selector.setdefault(key, value) == value, f"conflict for nodeSelector {key}"
        self._patch(job, {"suspend": None, **spec})

    def _patch(self, job: Object, spec: Object) -> None:
        self._api.call(
            Request(
                "PATCH",
                "patch",
                RAY_JOBS,
                job["metadata"]["namespace"],
                job["metadata"]["name"],
                query={"fieldManager": MANAGER},
                body={"spec": spec},
                content_type="application/merge-patch+json",
            )
        )

    def _report(self, job: Object, condition: Object) -> None:
        """Make the job's Workload if there is none yet, and write its conditions."""
        metadata, name = job["metadata"], _name(job)
        if self._api.get(WORKLOADS, metadata["namespace"], name) is None:
            owner = {key: job[key] for key in ("apiVersion", "kind")}
            owner |= {key: metadata[key] for key in ("name", "uid")}
            workload = {
                "apiVersion": f"{WORKLOADS.group}/{WORKLOADS.version}",
                "kind": WORKLOADS.kind,
                "metadata": {
                    "name": name,
                    "labels": {JOB_UID: metadata["uid"]},
                    "ownerReferences": [owner],
                },
                "spec": {"queueName": metadata["labels"][QUEUE]},
            }
            self._api.create(WORKLOADS, metadata["namespace"], workload)
        evicted = self._evicted.get(metadata["uid"])
        status = {"conditions": [condition, *([evicted] if evicted else [])]}
        self._api.call(
            Request(
                "PATCH",
                "patch",
                WORKLOADS,
                metadata["namespace"],
                name,
                "status",
                body={"status": status},
                content_type="application/merge-patch+json",
            )
        )

    def _unused(self, name: str, *, borrow: bool) -> Usage:
        """Return what a queue may still use, with what it borrows of its cohort or without."""
        queues = {each["metadata"]["name"]: each for each in self._api.objects(CLUSTER_QUEUES, "")}
        cohort = queues[name]["spec"].get("cohortName")
        members = [
            each
            for each, queue in queues.items()
            if each == name or (cohort and queue["spec"].get("cohortName") == cohort)
        ]
        quotas = {each: _quotas(queues[each]) for each in members}
        used = {each: self._used_of(each) for each in members}
        unused: Usage = {}
        for place, own in quotas[name].items():
            lent = (
                quotas[each][place].lent - max(used[each][place] - quotas[each][place].kept, _NONE)
                for each in members
                if place in quotas[each]
            )
            shared = sum(lent, _NONE)
            if own.borrowed is not None:
                beyond = max(used[name][place] - own.kept, _NONE)
                shared = min(shared, own.lent - beyond + own.borrowed)
            unused[place] = max(own.kept - used[name][place], _NONE) + shared
            if not borrow:
                unused[place] = min(unused[place], own.kept + own.lent - used[name][place])
        return unused

    def _used_of(self, name: str) -> Usage:
        """Return what a queue's admitted jobs use."""
        total: Usage = defaultdict(Decimal)
        for queue, used in self._used.values():
            for place, amount in used.items() if queue == name else ():
                total[place] += amount
        return total

    def _needed(self, job: Object) -> Usage:
        needed: Usage = defaultdict(Decimal)
        for _, count, template in _pod_sets(job["spec"]):
            flavor = self._flavor_of(template["spec"])["metadata"]["name"]
            for resource, amount in _requests(template["spec"], count).items():
                needed[flavor, resource] += amount
        return needed

    def _flavor_of(self, pod: Object) -> Object:
        """Return the flavor whose node labels a pod selects."""
        for flavor in self._api.objects(FLAVORS, ""):
            if flavor["spec"]["nodeLabels"].items() <= pod["nodeSelector"].items():
                return flavor
        raise LookupError(f"no flavor for {pod['nodeSelector']}")


@dataclass(frozen=True)
class _Quota:
    """What a queue has of one resource of one flavor.

    Attributes:
        lent: of its nominal quota, what others of the cohort may use.
        kept: the rest of it.
        borrowed: what it may borrow at most; None if that has no limit.
    """

    lent: Decimal
    kept: Decimal
    borrowed: Decimal | None


def _quotas(queue: Object) -> dict[tuple[str, str], _Quota]:
    """Return a queue's quotas by flavor and resource."""
    quotas = {}
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            for each in flavor["resources"]:
                amounts = {key: parse_quantity(each[key]) for key in each if key != "name"}
                nominal = amounts["nominalQuota"]
                kept = max(nominal - amounts.get("lendingLimit", nominal), _NONE)
                quotas[flavor["name"], each["name"]] = _Quota(
                    nominal - kept, kept, amounts.get("borrowingLimit")
                )
    return quotas


def _pod_sets(spec: Object) -> Iterator[tuple[str, Decimal, Object]]:
    """Yield name, count and template of each of a RayJob's pod sets."""
    cluster = spec["rayClusterSpec"]
    yield "head", Decimal(1), cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], Decimal(group["replicas"]), group["template"]
    yield "submitter", Decimal(1), spec["submitterPodTemplate"]


def _requests(pod: Object, count: Decimal) -> dict[str, Decimal]:
    """Return what a number of pods request, by resource."""
    total: dict[str, Decimal] = defaultdict(Decimal)
    for container in pod["containers"]:
        for resource, amount in container["resources"]["requests"].items():
            total[resource] += count * parse_quantity(amount)
    return total


def _name(job: Object) -> str:
    return f"rayjob-{job['metadata']['name']}-{job['metadata']['uid'][:5]}"


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}
