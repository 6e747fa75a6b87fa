from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from medsweep.k8s.diagnose import job_reason, pods_reason
from medsweep.k8s.resources import PODS, RAY_CLUSTERS, RAY_JOBS, RAY_SERVICES, WORKLOADS
from medsweep.k8s.state import SweepObjects, phase_of
from medsweep.k8s.table import job_row

Object = dict[str, Any]

LABELS = {
    "medsweep.io/stage": "benchmark",
    "medsweep.io/cell": "key",
    "medsweep.io/profile": "1xv100-1cpu",
}


def job(state: str = "", **status: str) -> Object:
    return {
        "metadata": {"name": "bm-one", "uid": "u1", "labels": LABELS},
        "status": {"jobDeploymentStatus": state, "rayClusterName": "bm-one-x", **status},
    }


def pod(name: str = "w", role: str = "worker", node: str | None = None, **status: Any) -> Object:
    labels = {**LABELS, "medsweep.io/role": role}
    spec = {"nodeName": node} if node else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": status}


def container(**state: Any) -> Object:
    return {"name": "ray-worker", "state": state}


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({}, "starting"),
        ({"jobDeploymentStatus": "Initializing"}, "starting"),
        ({"jobDeploymentStatus": "Suspended"}, "queued"),
        ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, "running"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "done"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "FAILED"}, "failed"),
        ({"jobDeploymentStatus": "Failed"}, "failed"),
    ],
)
def test_phases_follow_kuberays_states(status: Object, phase: str) -> None:
    assert phase_of({"metadata": {}, "status": status}) == phase


def test_a_job_that_is_being_deleted_is_ending_and_a_suspended_one_queued() -> None:
    assert phase_of({"metadata": {"deletionTimestamp": "now"}}) == "ending"
    assert phase_of({"metadata": {}, "spec": {"suspend": True}}) == "queued"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    }
                ]
            },
            "w: no node can run it (Unschedulable): 0/3 nodes are available",
        ),
        (
            {
                "containerStatuses": [
                    container(waiting={"reason": "ImagePullBackOff", "message": "no such tag"})
                ]
            },
            "w: ImagePullBackOff: its image cannot be pulled; check image, tag and pull secret: "
            "no such tag",
        ),
        (
            {"containerStatuses": [container(waiting={"reason": "CreateContainerConfigError"})]},
            "w: CreateContainerConfigError: a secret or config map that it needs does not exist",
        ),
        (
            {"containerStatuses": [container(terminated={"reason": "OOMKilled"})]},
            "w: it needed more memory than the profile has and was killed (OOMKilled)",
        ),
        (
            {"phase": "Failed", "reason": "Evicted"},
            "w: its node ran short of a resource and evicted it",
        ),
        ({"containerStatuses": [container(running={})]}, None),
        ({"containerStatuses": [container(waiting={"reason": "PodInitializing"})]}, None),
    ],
)
def test_a_pods_reason_is_said_in_words(status: Object, message: str | None) -> None:
    assert pods_reason([pod(**status)]) == message


def test_a_state_joins_job_pods_and_cluster_by_their_labels() -> None:
    objects = SweepObjects()
    objects.put(RAY_JOBS, "bm-one", job("Running", startTime="2026-01-01T00:00:00Z"))
    assert objects.put(PODS, "w", pod(node="gpu-1")) == "bm-one"
    objects.put(PODS, "h", pod("h", "head", "cpu-1"))
    state = objects.state("bm-one")
    assert (state.node, state.phase, state.reason, state.key) == ("gpu-1", "running", None, "key")
    objects.put(RAY_JOBS, "bm-one", job("Initializing"))
    quota = {"type": "ReplicaFailure", "status": "True", "message": "pods exceeded quota: gpus"}
    cluster = {
        "metadata": {"name": "bm-one-x", "labels": LABELS},
        "status": {"conditions": [quota]},
    }
    assert objects.put(RAY_CLUSTERS, "bm-one-x", cluster) == "bm-one"
    assert objects.state("bm-one").reason == "quota: pods exceeded quota: gpus"
    assert objects.put(PODS, "w", None) == "bm-one"
    assert objects.state("bm-one").node is None


def test_what_is_left_of_an_earlier_job_of_the_name_says_nothing() -> None:
    objects = SweepObjects()
    killed = pod(
        "old", node="gpu-1", containerStatuses=[container(terminated={"reason": "OOMKilled"})]
    )
    for value, owner in ((killed, "c0"), (pod("new", node="gpu-2"), "c1")):
        value["metadata"]["ownerReferences"] = [{"uid": owner}]
        objects.put(PODS, value["metadata"]["name"], value)
    for uid, owner in (("c0", "u0"), ("c1", "u1")):
        metadata = {"name": uid, "uid": uid, "labels": LABELS, "ownerReferences": [{"uid": owner}]}
        objects.put(RAY_CLUSTERS, uid, {"metadata": metadata})
    objects.put(RAY_CLUSTERS, "c0", None)  # its pods take longer
    objects.put(RAY_JOBS, "bm-one", job("Initializing"))
    state = objects.state("bm-one")
    assert (state.node, state.reason) == ("gpu-2", None)


def service(**status: Any) -> Object:
    labels = {**LABELS, "medsweep.io/stage": "serve"}
    return {"metadata": {"name": "sv-one", "uid": "s1", "labels": labels}, "status": status}


def test_a_served_model_has_a_state_of_its_own() -> None:
    objects = SweepObjects()
    condition = {"type": "Ready", "status": "False", "message": "no endpoint"}
    objects.put(RAY_SERVICES, "sv-one", service(conditions=[condition]))
    objects.put(RAY_JOBS, "bm-one", job("Running"))
    worker = pod("s", node="gpu-3")
    worker["metadata"]["labels"]["medsweep.io/stage"] = "serve"
    assert objects.put(PODS, "s", worker) == "sv-one"
    measured, served = objects.states()
    assert (measured.stage, measured.node) == ("benchmark", None)
    assert (served.stage, served.phase, served.node) == ("serve", "starting", "gpu-3")
    assert served.reason == "no endpoint"
    # As Ray 2.60's application_state.py words it: the cause is in the deployment's message.
    application: Object = {
        "status": "DEPLOY_FAILED",
        "message": "Failed to update the deployments ['Ingress'].",
    }
    pending = {"applicationStatuses": {"medsweep": application}}
    objects.put(RAY_SERVICES, "sv-one", service(pendingServiceStatus=pending))
    assert objects.state("sv-one").reason == f"DEPLOY_FAILED: {application['message']}"
    application["serveDeploymentStatuses"] = {
        "Engine": {"status": "UPDATING", "message": "1 replica takes long to initialize."},
        "Ingress": {"status": "DEPLOY_FAILED", "message": "failed 3 times.\n...\nno adapter"},
    }
    objects.put(RAY_SERVICES, "sv-one", service(pendingServiceStatus=pending))
    assert objects.state("sv-one").reason == (
        "DEPLOY_FAILED: Ingress: failed 3 times. … no adapter"
    )
    application |= {"status": "UNHEALTHY", "message": "The deployments ['Engine'] are UNHEALTHY."}
    application["serveDeploymentStatuses"] = {
        "Ingress": {"status": "HEALTHY", "message": "said before"},
        "Engine": {"status": "UNHEALTHY", "message": "replica died"},
    }
    objects.put(RAY_SERVICES, "sv-one", service(pendingServiceStatus=pending))
    assert objects.state("sv-one").reason == "UNHEALTHY: Engine: replica died"
    # As KubeRay 1.7.0 reported it: the application is being deployed, one replica has failed.
    error = "A replica failed to start with exception. Retrying 2 more time(s). Error:\n"
    error += "\x1b[36mray::ServeReplica\x1b[39m (pid=193)\n  File ...\nInputError: no \x1b[1mkey\n"
    deployments = {
        "Engine": {"status": "HEALTHY", "message": ""},
        "Ingress": {"status": "UPDATING", "message": error},
    }
    starting = {"medsweep": {"status": "DEPLOYING", "serveDeploymentStatuses": deployments}}
    pending = {"applicationStatuses": starting}
    status = {"pendingServiceStatus": pending, "conditions": [condition]}
    objects.put(RAY_SERVICES, "sv-one", service(**status))
    assert objects.state("sv-one").reason == (
        "Ingress: A replica failed to start with exception. Retrying 2 more time(s). Error:"
        " … InputError: no key"
    )
    deployments["Ingress"] = {"status": "HEALTHY", "message": ""}
    objects.put(RAY_SERVICES, "sv-one", service(**status))
    assert objects.state("sv-one").reason == "no endpoint"
    since = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    objects.put(RAY_SERVICES, "sv-one", service(conditions=[since]))
    served = objects.state("sv-one")
    assert (served.phase, served.reason) == ("running", None)
    assert served.started == datetime(2026, 1, 1, tzinfo=UTC)
    upgrading = {"type": "UpgradeInProgress", "status": "True"}
    objects.put(RAY_SERVICES, "sv-one", service(conditions=[since, upgrading]))
    assert objects.state("sv-one").reason == "upgrade: a second cluster starts"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    second = pod("t", conditions=[{**condition, "message": "0/3 nodes"}])
    second["metadata"]["labels"]["medsweep.io/stage"] = "serve"
    objects.put(PODS, "t", second)
    served = objects.state("sv-one")
    assert served.phase == "running"
    assert served.reason == "upgrade: t: no node can run it (Unschedulable): 0/3 nodes"
    objects.put(PODS, "t", None)
    ending = service(conditions=[since])
    ending["metadata"]["deletionTimestamp"] = "now"
    objects.put(RAY_SERVICES, "sv-one", ending)
    assert objects.state("sv-one").phase == "ending"


def test_seconds_are_whole() -> None:
    objects = SweepObjects()
    times = {"startTime": "2026-01-01T00:00:00.25Z", "endTime": "2026-01-01T00:01:30.9Z"}
    objects.put(RAY_JOBS, "bm-one", job("Complete", jobStatus="SUCCEEDED", **times))
    assert job_row(objects.state("bm-one"))["seconds"] == 91
    objects.put(RAY_JOBS, "bm-one", job("Running", startTime="2026-01-01T00:00:00Z"))
    assert isinstance(job_row(objects.state("bm-one"))["seconds"], int)


def test_a_queued_job_says_what_kueue_says() -> None:
    objects = SweepObjects()
    queued = job("Suspended")
    queued["metadata"] |= {"labels": {**LABELS, "kueue.x-k8s.io/queue-name": "team"}}
    objects.put(RAY_JOBS, "bm-one", queued)
    assert objects.state("bm-one").reason == "waiting for quota in queue team"

    def say(*conditions: Object) -> str | None:
        labels = {"kueue.x-k8s.io/job-uid": "u1"}
        workload = {"metadata": {"name": "wl", "labels": labels}}
        status = {"conditions": list(conditions)}
        assert objects.put(WORKLOADS, "wl", {**workload, "status": status}) == "bm-one"
        return objects.state("bm-one").reason

    waits = {"type": "QuotaReserved", "status": "False", "message": "insufficient quota"}
    assert say(waits) == "waiting for quota in queue team: insufficient quota"
    # As Kueue's controller writes it, of a worker that selects the pool v100.
    others = ", ".join(f"flavor {pool} doesn't match node affinity" for pool in ("a100", "cpu"))
    lacks = "insufficient unused quota for nvidia.com/gpu in flavor v100, 2 more needed"
    pod_set = "couldn't assign flavors to pod set gpu: "
    assert say({**waits, "message": f"{pod_set}{others}, {lacks}"}) == (
        f"waiting for quota in queue team: {pod_set}{lacks}"
    )
    assert say({**waits, "message": f"{pod_set}{others}"}) == (
        f"waiting for quota in queue team: {pod_set}flavor cpu doesn't match node affinity"
    )
    evicted = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "by another"}
    assert say(waits, evicted) == (
        "waiting for quota in queue team: evicted (Preempted): by another: insufficient quota"
    )
    reserved = {"type": "QuotaReserved", "status": "True"}
    checks = "waiting for the admission checks of queue team; its quota is reserved"
    assert say(reserved, {**evicted, "status": "False"}) == checks
    # What Kueue said is over once the job runs.
    queued["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    objects.put(RAY_JOBS, "bm-one", queued)
    assert objects.state("bm-one").reason is None


def test_a_job_that_is_tried_again_says_so() -> None:
    """KubeRay counts failed attempts, and clears the reason when the next one begins."""
    objects = SweepObjects()
    value = job("Retrying", reason="PreRunningDeadlineExceeded", message="has passed")
    value["status"]["failed"] = 1

    def state(deployment: str, **status: str) -> tuple[str, str | None]:
        value["status"] |= {"jobDeploymentStatus": deployment, **status}
        objects.put(RAY_JOBS, "bm-one", value)
        state = objects.state("bm-one")
        return state.phase, state.reason

    cause = "PreRunningDeadlineExceeded: has passed"
    assert state("Retrying") == ("starting", f"attempt 1 failed: {cause}")
    assert state("Initializing", reason="", message="") == ("starting", "attempt 2")
    assert state("Running", jobStatus="RUNNING") == ("running", "attempt 2")
    assert state("Complete", jobStatus="SUCCEEDED") == ("done", None)
    value["status"]["failed"] = 0
    assert state("Running", jobStatus="RUNNING") == ("running", None)


def test_a_served_model_that_waits_for_quota_is_queued() -> None:
    """Kueue suspends a RayService by its cluster, and KubeRay says only that it initializes."""
    objects = SweepObjects()
    conditions = [
        {"type": "Ready", "status": "False", "message": "RayService is initializing"},
    ]
    service: Object = {
        "metadata": {
            "name": "sv-one",
            "uid": "u2",
            "labels": {**LABELS, "kueue.x-k8s.io/queue-name": "team"},
        },
        "spec": {"rayClusterConfig": {"suspend": True}},
        "status": {"conditions": conditions},
    }
    objects.put(RAY_SERVICES, "sv-one", service)
    state = objects.state("sv-one")
    assert (state.phase, state.reason) == ("queued", "waiting for quota in queue team")
    service["spec"]["rayClusterConfig"]["suspend"] = False
    objects.put(RAY_SERVICES, "sv-one", service)
    state = objects.state("sv-one")
    assert (state.phase, state.reason) == ("starting", "RayService is initializing")


def test_a_failed_job_has_its_time_and_every_reason() -> None:
    objects = SweepObjects()
    times = {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:01:30Z"}
    objects.put(
        RAY_JOBS, "bm-one", job("Failed", reason="DeadlineExceeded", message="too\nlong", **times)
    )
    state = objects.state("bm-one")
    assert (state.seconds, state.reason) == (90.0, "DeadlineExceeded: too long")
    assert job_reason(job("Failed")) is None
