from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crds import ROOT, faults
from medsweep.errors import InputError
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import host_profile
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.conventions import GPU, ROLE, image_family
from medsweep.k8s.fetch import fetch_pod
from medsweep.k8s.pods import head_template, worker_template
from medsweep.k8s.render import (
    RAY_VERSION,
    SWEEP_VARIABLE,
    benchmark_job,
    finetune_job,
    serve_service,
)
from medsweep.k8s.settings import ClusterSettings, Toleration
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from network import templates_of
from operator_rules import broken
from support import make_spec

from .conftest import planned

Manifest = dict[str, Any]

QUEUED = ClusterSettings(
    queue="medsweep",
    results="s3://bucket/medsweep",
    results_secret="medsweep-s3",
    image_pull_secret="registry",
    model_cache_claim="medsweep-models",
    image_digests={"cu13": "sha256:" + "0" * 64},
)
EVERYTHING = (ClusterSettings(), QUEUED)


def everything(spec: SweepSpec, plan: Plan, settings: ClusterSettings) -> list[Manifest]:
    return [
        *(finetune_job(spec, adapter, settings) for adapter in plan.adapters.values()),
        *(benchmark_job(spec, cell, settings) for cell in plan.runnable),
        *(serve_service(spec, cell, settings) for cell in plan.runnable),
    ]


def cluster_of(manifest: Manifest) -> Manifest:
    spec = manifest["spec"]
    result: Manifest = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    return result


def templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    cluster = cluster_of(manifest)
    yield "head", cluster["headGroupSpec"]["template"]
    yield "worker", cluster["workerGroupSpecs"][0]["template"]
    if manifest["kind"] == "RayJob":
        yield "submitter", manifest["spec"]["submitterPodTemplate"]


def variables(template: Manifest) -> dict[str, Manifest]:
    return {each["name"]: each for each in template["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("settings", EVERYTHING, ids=["plain", "queued"])
@pytest.mark.parametrize("stand_ins", [False, True])
def test_an_api_server_and_kuberay_take_every_manifest(
    stand_ins: bool, settings: ClusterSettings
) -> None:
    spec = make_spec(name="all", cells="all", stand_ins=stand_ins)
    manifests = everything(spec, planned(spec), settings)
    assert len(manifests) > 60
    seen = set()
    for manifest in manifests:
        assert broken(manifest) == []
        # The schema's walk is slow: one of each stage and profile says what all would.
        labels = manifest["metadata"]["labels"]
        shape = (labels["medsweep.io/stage"], labels["medsweep.io/profile"])
        if shape not in seen:
            assert faults(manifest) == []
        seen.add(shape)
    assert len({manifest["metadata"]["name"] for manifest in manifests}) == len(manifests)


@pytest.mark.parametrize("settings", EVERYTHING, ids=["plain", "queued"])
def test_shards_of_the_load_are_pods_of_the_cpu_pool(settings: ClusterSettings) -> None:
    load = {"points": [{"concurrency": 10_000}], "shards": 4}
    spec = make_spec(cells=["distilgpt2@1xa100-1cpu"], load=load)
    the_plan = planned(spec)
    [cell], [adapter] = the_plan.runnable, the_plan.adapters.values()
    job = benchmark_job(spec, cell, settings)
    assert broken(job) == []
    assert faults(job) == []
    worker, group = cluster_of(job)["workerGroupSpecs"]
    assert worker["groupName"] == "gpu"
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (4, 4, 4)
    # Ray places one shard on each: by these labels, and by its only CPU.
    assert group["labels"] == {"medsweep.io/gpu": "none", "medsweep.io/role": "load"}
    assert group["resources"] == {"CPU": "1"}
    pod = group["template"]
    assert pod["spec"]["nodeSelector"] == {"medsweep.io/gpu": "none"}
    assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "medsweep"
    [rule] = pod["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert rule["labelSelector"] == {"matchLabels": {"medsweep.io/role": "worker"}}
    assert "nvidia.com/gpu" not in pod["spec"]["containers"][0]["resources"]["limits"]
    assert worker["template"]["metadata"]["labels"]["medsweep.io/role"] == "worker"
    # Only what measures sends a load.
    for other in (finetune_job(spec, adapter, settings), serve_service(spec, cell, settings)):
        assert len(cluster_of(other)["workerGroupSpecs"]) == 1


def test_the_same_plan_gives_the_same_manifests(paper: SweepSpec, plan: Plan) -> None:
    once, again = (everything(paper, plan, QUEUED) for _ in range(2))
    assert json.dumps(once) == json.dumps(again)


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


def test_a_job_ends_whatever_happens(paper: SweepSpec, plan: Plan) -> None:
    for manifest in everything(paper, plan, QUEUED):
        spec = manifest["spec"]
        if manifest["kind"] == "RayJob":
            assert spec["shutdownAfterJobFinishes"] is True
            assert spec["ttlSecondsAfterFinished"] >= 60
            assert spec["backoffLimit"] == 1
            assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
            assert "deletionStrategy" not in spec
        assert "enableInTreeAutoscaling" not in cluster_of(manifest)
        assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "medsweep"


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


DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"


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


def test_the_job_plans_the_very_cell(paper: SweepSpec, plan: Plan) -> None:
    for cell in plan.runnable:
        manifest = benchmark_job(paper, cell, QUEUED)
        head = cluster_of(manifest)["headGroupSpec"]["template"]
        cut = SweepSpec.model_validate_json(variables(head)[SWEEP_VARIABLE]["value"])
        again = make_plan(cut, "d" * 64, dict.fromkeys(model_names(cut), "r"), host_profile())
        assert [result.key for result in again.cells] == [cell.key]
        words = shlex.split(manifest["spec"]["entrypoint"])
        assert words[1:] == [
            "/opt/medsweep/jobs/benchmark.py",
            "--cell",
            cell.key,
            "--out",
            "s3://bucket/medsweep",
            "--metrics-port",
            "9464",
        ]


def test_the_fine_tune_plans_the_very_adapter(paper: SweepSpec, plan: Plan) -> None:
    for adapter in plan.adapters.values():
        head = cluster_of(finetune_job(paper, adapter, QUEUED))["headGroupSpec"]["template"]
        cut = SweepSpec.model_validate_json(variables(head)[SWEEP_VARIABLE]["value"])
        again = make_plan(cut, "d" * 64, dict.fromkeys(model_names(cut), "r"), host_profile())
        assert list(again.adapters) == [adapter.key]
        assert again.adapters[adapter.key].profile == adapter.profile


def test_a_job_is_the_same_however_many_cells_its_sweep_has() -> None:
    cells = [f"standin-distilgpt2@{profile}" for profile in PROFILES]
    jobs = []
    for spec in (make_spec(cells=cells[:1]), make_spec(cells=cells)):
        (cell,) = (cell for cell in planned(spec).cells if cell.name == cells[0])
        jobs.append(benchmark_job(spec, cell, QUEUED))
    assert jobs[0] == jobs[1]


def test_a_cell_that_cannot_run_has_no_manifest(paper: SweepSpec, plan: Plan) -> None:
    refused = [cell for cell in plan.cells if cell.refused is not None]
    assert refused
    for render in (benchmark_job, serve_service):
        with pytest.raises(InputError, match="cannot run: gemma-1.1-7b needs"):
            render(paper, refused[0], QUEUED)


def test_this_machine_is_no_pool_of_a_cluster() -> None:
    spec = make_spec(cells=["distilgpt2@host"])
    result = planned(spec)
    with pytest.raises(InputError, match="choose one of 1xv100-1cpu"):
        benchmark_job(spec, result.cells[0], QUEUED)
    with pytest.raises(InputError, match="`host` is the machine"):
        finetune_job(spec, next(iter(result.adapters.values())), QUEUED)


def test_an_object_store_needs_a_claim_that_head_and_worker_share(
    paper: SweepSpec, plan: Plan
) -> None:
    alone = ClusterSettings(results="s3://bucket/medsweep")
    with pytest.raises(InputError, match="needs a model_cache_claim too"):
        benchmark_job(paper, plan.runnable[0], alone)
    shared = benchmark_job(paper, plan.runnable[0], QUEUED)
    for role, template in templates(shared):
        if role != "submitter":
            assert variables(template)["TMPDIR"]["value"] == "/cache"
            claims = [each["persistentVolumeClaim"] for each in template["spec"]["volumes"][1:]]
            assert claims == [{"claimName": "medsweep-models"}]


def test_ray_is_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ray[serve,train]=={RAY_VERSION}" in project["optional-dependencies"]["run"]


BREAKS: dict[str, Callable[[Manifest], object]] = {
    "more than 47": lambda job: job["metadata"].update(name="a" * 48),
    "not a DNS label": lambda job: job["metadata"].update(name="1a"),
    "ttlSecondsAfterFinished needs": lambda job: job["spec"].pop("shutdownAfterJobFinishes"),
    "deletionRules exclude": lambda job: job["spec"].update(
        deletionStrategy={"deletionRules": [1]}
    ),
    "Kueue excludes deletionStrategy": lambda job: job["spec"].update(deletionStrategy={}),
    "Kueue excludes autoscaling": lambda job: cluster_of(job).update(enableInTreeAutoscaling=True),
    "stand in rayStartParams too": lambda job: cluster_of(job)["headGroupSpec"].update(
        rayStartParams={"num-cpus": "0"}
    ),
    "no rayStartParams": lambda job: cluster_of(job)["headGroupSpec"].pop("rayStartParams"),
    "labels stand in rayStartParams": lambda job: cluster_of(job)["headGroupSpec"].update(
        rayStartParams={"labels": "a=b"}
    ),
    "no scaleStrategy": lambda job: cluster_of(job)["workerGroupSpecs"][0].pop("scaleStrategy"),
    "no token": lambda job: cluster_of(job).pop("authOptions"),
    "no rayVersion": lambda job: cluster_of(job).pop("rayVersion"),
    "is not one": lambda job: cluster_of(job)["workerGroupSpecs"][0]["labels"].update(a="b c"),
    "SidecarMode excludes": lambda job: job["spec"].update(submissionMode="SidecarMode"),
    "InteractiveMode excludes": lambda job: job["spec"].update(submissionMode="InteractiveMode"),
    "restartPolicy": lambda job: job["spec"]["submitterPodTemplate"]["spec"].pop("restartPolicy"),
    "activeDeadlineSeconds": lambda job: job["spec"].update(activeDeadlineSeconds=0),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_the_operator_s_rules_can_fail(rule: str, paper: SweepSpec, plan: Plan) -> None:
    job = benchmark_job(paper, plan.runnable[0], QUEUED)
    BREAKS[rule](job)
    assert any(rule in result for result in broken(job))


def test_a_service_s_rules_can_fail(paper: SweepSpec, plan: Plan) -> None:
    service = serve_service(paper, plan.runnable[0], QUEUED)
    service["spec"]["serveConfigV2"] = json.dumps({"proxy_location": "HeadOnly"})
    service["spec"]["upgradeStrategy"]["type"] = "Sometimes"
    assert [rule.partition(" ")[0] for rule in broken(service)] == ["HeadOnly", "no"]


def test_the_schema_s_rules_can_fail(paper: SweepSpec, plan: Plan) -> None:
    job = benchmark_job(paper, plan.runnable[0], QUEUED)
    unknown = copy.deepcopy(job)
    unknown["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"][
        "nodeselector"
    ] = {}
    assert any("nodeselector" in result for result in faults(unknown))
    typed = copy.deepcopy(job)
    typed["spec"]["backoffLimit"] = "1"
    assert any("backoffLimit" in result for result in faults(typed))
    ruled = copy.deepcopy(job)
    ruled["spec"]["managedBy"] = "somebody"
    assert any("managedBy" in result for result in faults(ruled))
