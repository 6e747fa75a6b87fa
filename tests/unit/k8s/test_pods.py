"""The pods of every manifest: where they run, what they may do, and what they are given."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.conventions import GPU, ROLE, image_family
from medsweep.k8s.fetch import fetch_pod
from medsweep.k8s.pods import head_template, worker_template
from medsweep.k8s.render import benchmark_job, serve_service
from medsweep.k8s.settings import ClusterSettings, Toleration
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec
from network import templates_of
from support import make_spec

from .conftest import EVERYTHING, QUEUED, cluster_of, everything, planned, templates, variables

DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_worker_is_the_profile(profile: str) -> None:
    spec = make_spec(cells=[f"standin-distilgpt2@{profile}"])
    (cell,) = planned(spec).cells
    for manifest in (benchmark_job(spec, cell, QUEUED), serve_service(spec, cell, QUEUED)):
        (group,) = cluster_of(manifest)["workerGroupSpecs"]
        wanted = PROFILES[profile]
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 1
        assert group["resources"] == {"CPU": str(wanted.cpus), "GPU": str(wanted.gpus)}
        assert group["labels"].items() >= wanted.labels.items()
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        resources = container["resources"]
        assert resources["limits"] == resources["requests"]
        assert resources["limits"]["cpu"] == str(wanted.cpus)
        assert resources["limits"]["nvidia.com/gpu"] == str(wanted.gpus)
        assert resources["limits"]["memory"] == f"{wanted.host_memory_bytes // 2**30}Gi"
        gpu = wanted.labels["medsweep.io/gpu"]
        assert pod["nodeSelector"] == {"medsweep.io/gpu": gpu}
        assert {"nvidia.com/gpu", "medsweep.io/gpu"} == {each["key"] for each in pod["tolerations"]}
        assert ("cu126" in container["image"]) == (gpu == "v100")


def test_a_worker_without_gpus_keeps_from_the_nodes_of_load_generators() -> None:
    clinic = HardwareProfile("clinic-pc", 4, 0, None, 16 * GIB)
    spec = worker_template(ClusterSettings(), {}, clinic, image_family(clinic), [])["spec"]
    assert spec["nodeSelector"] == {"medsweep.io/gpu": "none"}
    (apart,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    head = head_template(ClusterSettings(), {}, [])["metadata"]["labels"]
    assert apart["labelSelector"]["matchLabels"].items() <= head.items()
    other = worker_template(ClusterSettings(), {}, PROFILES["1xv100-1cpu"], "cu126", [])
    assert "affinity" not in other["spec"]


def test_every_pod_tolerates_the_taints_of_the_settings(paper: SweepSpec, plan: Plan) -> None:
    taint = Toleration(key="dedicated", value="bench", effect="NoExecute")
    settings = ClusterSettings(tolerations=[taint])
    given = {"key": "dedicated", "operator": "Equal", "value": "bench", "effect": "NoExecute"}
    pods = [
        template["spec"]
        for manifest in everything(paper, plan, settings)
        for template in templates_of(manifest)
    ]
    assert len(pods) > 40
    for pod in [*pods, fetch_pod(settings, "trial")["spec"]]:
        own = [] if pod["nodeSelector"] == {"medsweep.io/gpu": "none"} else ["nvidia.com/gpu", GPU]
        assert [each["key"] for each in pod["tolerations"]] == [*own, "dedicated"]
        assert pod["tolerations"][-1] == given
    assert "tolerations" not in fetch_pod(ClusterSettings(), "trial")["spec"]


def test_workers_with_gpus_alone_get_the_runtime_class() -> None:
    settings = ClusterSettings(runtime_class="nvidia")
    gpu = worker_template(settings, {}, PROFILES["1xv100-1cpu"], "cu126", [])
    assert gpu["spec"]["runtimeClassName"] == "nvidia"
    clinic = HardwareProfile("clinic-pc", 4, 0, None, 16 * GIB)
    for template in (
        worker_template(settings, {}, clinic, "cpu", []),
        worker_template(ClusterSettings(), {}, PROFILES["1xv100-1cpu"], "cu126", []),
        head_template(settings, {}, []),
    ):
        assert "runtimeClassName" not in template["spec"]


def test_nothing_that_is_measured_can_land_on_the_head(paper: SweepSpec, plan: Plan) -> None:
    for manifest in everything(paper, plan, QUEUED):
        head = cluster_of(manifest)["headGroupSpec"]
        assert head["resources"] == {"CPU": "0"}
        assert head["template"]["spec"]["nodeSelector"] == {"medsweep.io/gpu": "none"}
        resources = head["template"]["spec"]["containers"][0]["resources"]
        assert "nvidia.com/gpu" not in resources["limits"]


def test_rows_name_the_image_that_measured(paper: SweepSpec, plan: Plan) -> None:
    for manifest in everything(paper, plan, QUEUED):
        pods = dict(templates(manifest))
        image = pods["worker"]["spec"]["containers"][0]["image"]
        assert pods["head"]["spec"]["containers"][0]["image"] != image
        for role in ("head", "worker"):
            assert variables(pods[role])["MEDSWEEP_IMAGE_DIGEST"]["value"] == image


@pytest.mark.parametrize("settings", EVERYTHING, ids=["plain", "queued"])
def test_every_pod_may_do_the_least(
    settings: ClusterSettings, paper: SweepSpec, plan: Plan
) -> None:
    seen = 0
    for manifest in everything(paper, plan, settings):
        for role, template in templates(manifest):
            pod = template["spec"]
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
            assert all("hostPath" not in volume for volume in pod["volumes"])
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert "/tmp" in mounted
                assert {m["name"] for m in container["volumeMounts"]} == {
                    volume["name"] for volume in pod["volumes"]
                }
            assert template["metadata"]["labels"]["medsweep.io/role"] == role
            seen += 1
    assert seen == 8 * len(plan.runnable) - 3 * (len(plan.runnable) - len(plan.adapters))


def test_ray_does_not_hold_the_gpus_of_a_job_that_is_over(paper: SweepSpec, plan: Plan) -> None:
    """It waits up to 30 s for requests when a pod is terminated, which only a service has."""
    load = paper.load.model_copy(update={"shards": 2})
    spec = paper.model_copy(update={"load": load})
    seen = set()
    for manifest in everything(spec, plan, QUEUED):
        for template in templates_of(manifest):
            role, drain = template["metadata"]["labels"][ROLE], variables(template).get(DRAIN)
            is_job = manifest["kind"] == "RayJob" and role != "submitter"
            assert drain == ({"name": DRAIN, "value": "0"} if is_job else None)
            seen.add((manifest["kind"], role))
    assert seen == {
        *(("RayJob", role) for role in ("head", "worker", "load", "submitter")),
        *(("RayService", role) for role in ("head", "worker")),
    }
    # The variable is Ray's own.
    command = f"from ray._private import ray_constants; print(ray_constants.{DRAIN})"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, DRAIN: "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0.0\n"


def test_secrets_are_given_by_reference_and_to_those_alone_who_need_them(
    paper: SweepSpec, plan: Plan
) -> None:
    with_token = set()
    for manifest in everything(paper, plan, QUEUED):
        for role, template in templates(manifest):
            for name, variable in variables(template).items():
                secret = name in ("HF_TOKEN", "MEDSWEEP_API_KEY")
                assert ("valueFrom" in variable) == secret
                if name == "HF_TOKEN":
                    with_token.add((manifest["metadata"]["name"].split("-")[1], role))
    assert with_token == {("gemma", "worker"), ("llama", "worker")}


def test_what_kuberay_injects_is_not_repeated(paper: SweepSpec, plan: Plan) -> None:
    for manifest in everything(paper, plan, QUEUED):
        for _, template in templates(manifest):
            (container,) = template["spec"]["containers"]
            assert "initContainers" not in template["spec"]
            assert not {"livenessProbe", "readinessProbe", "command"} & container.keys()
            assert 8080 not in [port["containerPort"] for port in container.get("ports", [])]
            assert all(mount["mountPath"] != "/dev/shm" for mount in container["volumeMounts"])
            # KubeRay selects a job's head by its own value of this label.
            assert "app.kubernetes.io/name" not in template["metadata"]["labels"]
