"""Plays KubeRay's operator and the kubelet: what a job's objects look like as it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from medsweep.k8s.client import Absent, Api, Request
from medsweep.k8s.conventions import ROLE
from medsweep.k8s.resources import (
    NAMESPACES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    RAY_SERVICES,
    SERVICE_ACCOUNTS,
    Resource,
)
from medsweep.k8s.watch import Watch

Object = dict[str, Any]

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

MANAGER = "kuberay-operator"
FINALIZERS = {
    RAY_JOBS: "ray.io/rayjob-finalizer",
    RAY_SERVICES: "ray.io/rayservice-finalizer",
}


class Operator:
    """Changes what the API server holds, as KubeRay and a kubelet would.

    Args:
        api: the API server.
        namespace: of the jobs.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def install(self) -> None:
        """Make the operator's own namespace and pod, which is ready."""
        home, name = f"{self.namespace}-operator", "kuberay-operator"
        named = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}}
        self.api.create(NAMESPACES, "", named)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self.api.create(SERVICE_ACCOUNTS, home, account)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
            "spec": {
                "serviceAccountName": name,
                "automountServiceAccountToken": False,
                "containers": [{"name": name, "image": name}],
            },
        }
        self.api.create(PODS, home, pod)
        self.be_ready(ready=True)

    def be_ready(self, *, ready: bool) -> None:
        """Let the operator's pod be ready, or not."""
        status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
        Operator(self.api, f"{self.namespace}-operator").status(PODS, "kuberay-operator", status)

    def adopt(self, resource: Resource, name: str) -> None:
        """Write an object as the real operator does when it first sees it.

        It updates the whole object, read and written as Go structures: each worker group then has a
        `scaleStrategy`, and the operator owns the list of groups unless that was there before.
        """
        value = self.api.get(resource, self.namespace, name)
        assert value is not None
        cluster = value["spec"]["rayClusterSpec" if resource is RAY_JOBS else "rayClusterConfig"]
        for group in cluster["workerGroupSpecs"]:
            group.setdefault("scaleStrategy", {})
        value["metadata"]["finalizers"] = [FINALIZERS[resource]]
        self._update(resource, value)

    def release(self, resource: Resource, value: Object) -> None:
        """Take the finalizer away from an object that is being deleted."""
        self._update(resource, {**value, "metadata": {**value["metadata"], "finalizers": []}})

    def _update(self, resource: Resource, value: Object) -> None:
        name = value["metadata"]["name"]
        query = {"fieldManager": MANAGER}
        self.api.call(
            Request("PUT", "update", resource, self.namespace, name, query=query, body=value)
        )

    def start(self, job: Object, cluster: str = "xyz") -> None:
        """Make the Ray cluster of a job with the pods of its templates, none of them scheduled.

        Args:
            job: as it was created.
            cluster: end of the Ray cluster's name.
        """
        metadata = job["metadata"]
        self.adopt(RAY_JOBS, metadata["name"])
        cluster = f"{metadata['name']}-{cluster}"
        labels = {key: metadata["labels"][key] for key in metadata["labels"] if "medsweep" in key}
        spec = job["spec"]["rayClusterSpec"]
        owner = self.create(RAY_CLUSTERS, cluster, labels, job, {"spec": spec})
        groups = {"head": spec["headGroupSpec"], "worker": spec["workerGroupSpecs"][0]}
        for role, group in groups.items():
            pod, rest = f"{cluster}-{role}", {"spec": group["template"]["spec"]}
            self.create(PODS, pod, {**labels, ROLE: role}, owner, rest)
        self.status(
            RAY_JOBS,
            metadata["name"],
            {"jobDeploymentStatus": "Initializing", "rayClusterName": cluster},
        )

    def suspend(self, job: Object, cluster: str = "xyz") -> None:
        """End what a job runs, as KubeRay does with `suspend: true`, also of a new job.

        As in `rayjob_controller.go`: a new job is initialised before its `suspend` is read.

        Args:
            job: as it was created.
            cluster: end of the Ray cluster's name.
        """
        name = job["metadata"]["name"]
        if not job.get("status"):
            self.adopt(RAY_JOBS, name)
            begun = {"jobDeploymentStatus": "Initializing", "startTime": BEGAN.isoformat()}
            self.status(RAY_JOBS, name, {**begun, "rayClusterName": f"{name}-{cluster}"})
        self.status(RAY_JOBS, name, {"jobDeploymentStatus": "Suspending"})
        self.collect(name, cluster)
        ended = {"rayClusterName": "", "jobStatus": "", "jobDeploymentStatus": "Suspended"}
        self.status(RAY_JOBS, name, ended)

    def collect(self, name: str, cluster: str = "xyz") -> None:
        """Delete what a job left behind, as the garbage collector would, where there is one."""
        for role in ("head", "worker"):
            self.api.delete(PODS, self.namespace, f"{name}-{cluster}-{role}")
        self.api.delete(RAY_CLUSTERS, self.namespace, f"{name}-{cluster}")

    def attempt(
        self,
        job: Object,
        *failures: Callable[[Operator, str], Object],
        work: Callable[[], None] = lambda: None,
    ) -> None:
        """Let a job run, fail as often as it is told to, and succeed then, if it gets that far.

        As in KubeRay's `rayjob_controller.go`: a failed job begins anew on another Ray cluster,
        `backoffLimit` times, unless `activeDeadlineSeconds` has passed.

        Args:
            job: as it was created.
            failures: each plays how an attempt fails, given the name of its Ray cluster, and
                returns the status that the operator writes.
            work: what the attempt that succeeds does.
        """
        name = job["metadata"]["name"]
        for number, fail in enumerate(failures):
            end = f"try{number}"
            self.start(job, end)
            status = fail(self, f"{name}-{end}")
            again = number < job["spec"]["backoffLimit"] and status["reason"] != "DeadlineExceeded"
            phase = "Retrying" if again else "Failed"
            times = {} if again else {"endTime": (BEGAN + timedelta(seconds=60)).isoformat()}
            failed = {"jobDeploymentStatus": phase, "jobStatus": "FAILED", "failed": number + 1}
            self.status(RAY_JOBS, name, {**failed, **status, **times})
            if not again:
                return
            self.collect(name, end)
            anew = {"jobDeploymentStatus": "", "jobStatus": "", "reason": "", "message": ""}
            self.status(RAY_JOBS, name, {**anew, "rayClusterName": ""})
        self.start(job, f"try{len(failures)}")
        self.run(name)
        work()
        self.finish(name)

    def run(self, name: str) -> None:
        """Let a job run."""
        status = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
        self.status(RAY_JOBS, name, {**status, "startTime": BEGAN.isoformat()})

    def finish(self, name: str, *, reason: str | None = None, seconds: float = 60) -> None:
        """End a job, badly if there is a reason."""
        status = {
            "jobDeploymentStatus": "Failed" if reason else "Complete",
            "jobStatus": "FAILED" if reason else "SUCCEEDED",
            "endTime": (BEGAN + timedelta(seconds=seconds)).isoformat(),
        }
        self.status(RAY_JOBS, name, status | ({"message": reason} if reason else {}))

    def pod(self, job: str, status: Object, role: str = "worker") -> None:
        """Say how a pod of a job is."""
        self.status(PODS, f"{job}-xyz-{role}", status)

    def status(self, resource: Resource, name: str, status: Object) -> None:
        """Change an object's status."""
        self.api.call(
            Request(
                "PATCH",
                "patch",
                resource,
                self.namespace,
                name,
                "status",
                body={"status": status},
                content_type="application/merge-patch+json",
            )
        )

    def create(
        self, resource: Resource, name: str, labels: Object, owner: Object, rest: Object
    ) -> Object:
        """Create what an object owns."""
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        group = f"{resource.group}/" if resource.group else ""
        value = {
            "apiVersion": f"{group}{resource.version}",
            "kind": resource.kind,
            "metadata": {"name": name, "labels": labels, "ownerReferences": [reference]},
            **rest,
        }
        return self.api.create(resource, self.namespace, value)


class Player:
    """Plays every job of a sweep to its end, in a thread; as a context it is stopped again.

    Args:
        operator: what it plays with.
        selector: of the jobs.
        play: what happens to a job; by default it runs and succeeds.
        resource: what is played with in place of jobs.
    """

    def __init__(
        self,
        operator: Operator,
        selector: str,
        play: Callable[[Operator, Object], None] | None = None,
        resource: Resource = RAY_JOBS,
    ) -> None:
        self._operator, self._play = operator, play or succeed
        self._resource = resource
        self._watch = Watch(operator.api, resource, operator.namespace, selector, pause_s=0.01)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.played: list[str] = []

    def __enter__(self) -> Player:
        self._waiting = self._watch.objects()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
        self._thread.join(60)

    def _follow(self) -> None:
        for job in self._waiting:
            self._one(job)
        for change in self._watch.changes():
            if change.value is not None:
                self._one(change.value)
            elif change.resource is RAY_JOBS:
                self._operator.collect(change.name)

    def _one(self, job: Object) -> None:
        if job["metadata"].get("deletionTimestamp"):
            if job["metadata"].get("finalizers"):
                self._operator.release(self._resource, job)
            return
        if job.get("status") or job["metadata"]["uid"] in self.played:
            return
        self.played.append(job["metadata"]["uid"])
        try:
            self._play(self._operator, job)
        except Absent:  # deleted meanwhile, as a test may do
            return


def succeed(operator: Operator, job: Object) -> None:
    """Let a job run and succeed."""
    operator.start(job)
    operator.run(job["metadata"]["name"])
    operator.finish(job["metadata"]["name"])
