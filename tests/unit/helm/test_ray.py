"""templates/ray: the jobs are the renderer's."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from core_objects import core_faults
from crds import faults
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import host_profile
from medsweep.hardware.profile import GIB, HardwareProfile
from medsweep.k8s.conventions import image_family
from medsweep.k8s.pods import worker_template
from medsweep.k8s.render import benchmark_job, finetune_job, serve_service
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from operator_rules import broken

from .conftest import CHART, MODES, Helm

Manifest = dict[str, Any]
Matrix = dict[tuple[str, str], list[Manifest]]

RAY = ("RayJob", "RayService")


def ray_object(manifests: list[Manifest]) -> Manifest:
    (result,) = (each for each in manifests if each["kind"] in RAY)
    return result


def test_the_matrix_is_whole(matrix: Matrix) -> None:
    assert len(matrix) == 9 * 3
    for (_, mode), manifests in matrix.items():
        assert len(manifests) == 4
        assert ray_object(manifests)["kind"] == ("RayService" if mode == "serve" else "RayJob")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", PROFILES)
def test_an_api_server_and_kuberay_take_every_object(
    profile: str, mode: str, matrix: Matrix
) -> None:
    for manifest in matrix[profile, mode]:
        if manifest["kind"] in RAY:
            assert broken(manifest) == []
            assert faults(manifest) == []
        else:
            assert core_faults(manifest) == []


def cluster_of(manifest: Manifest) -> Manifest:
    spec = manifest["spec"]
    result: Manifest = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    return result


def sweep_of(manifest: Manifest) -> SweepSpec:
    head = cluster_of(manifest)["headGroupSpec"]["template"]["spec"]["containers"][0]
    (value,) = (each["value"] for each in head["env"] if each["name"] == "MEDSWEEP_SWEEP")
    return SweepSpec.model_validate_json(value)


def without_what_differs(manifest: Manifest) -> Manifest:
    """Return a manifest without the fields in which chart and renderer differ, all listed here.

    - name: the chart's has the release's name and a hash of the values in it.
    - labels: the chart does not know a cell's or an adapter's key; it has Helm's own labels.
    - entrypoint and Serve's arguments: likewise without the key, or with the name in its place.
    - MEDSWEEP_SWEEP: the same cell, but written down by other hands; its plan is compared instead.
    """
    manifest = copy.deepcopy(manifest)
    del manifest["metadata"]["name"]
    spec, cluster = manifest["spec"], cluster_of(manifest)
    templates = [group["template"] for group in cluster["workerGroupSpecs"]]
    templates.append(cluster["headGroupSpec"]["template"])
    if "submitterPodTemplate" in spec:
        templates.append(spec["submitterPodTemplate"])
    for each in (manifest, *templates):
        for label in (
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "app.kubernetes.io/version",
            "helm.sh/chart",
            "medsweep.io/adapter",
            "medsweep.io/cell",
        ):
            each["metadata"]["labels"].pop(label, None)
    for template in templates:
        for container in template["spec"]["containers"]:
            container["env"] = {
                each["name"]: each for each in container["env"] if each["name"] != "MEDSWEEP_SWEEP"
            }
        template["spec"]["volumes"] = {each["name"]: each for each in template["spec"]["volumes"]}
    if "entrypoint" in spec:
        words = spec["entrypoint"].split()
        for flag in ("--cell", "--adapter"):
            if flag in words:
                del words[words.index(flag) : words.index(flag) + 2]
        spec["entrypoint"] = words
    else:
        spec["serveConfigV2"] = json.loads(spec["serveConfigV2"])
        for application in spec["serveConfigV2"]["applications"]:
            application["args"].pop("cell", None)
    return manifest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_chart_s_object_is_the_renderer_s(profile: str, mode: str, matrix: Matrix) -> None:
    ours = ray_object(matrix[profile, mode])
    spec = sweep_of(ours)
    plan = make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())
    (cell,) = plan.cells
    settings = ClusterSettings(queue="medsweep")
    if mode == "finetune":
        theirs = finetune_job(spec, plan.adapters[cell.adapter], settings)
    elif mode == "benchmark":
        theirs = benchmark_job(spec, cell, settings)
    else:
        theirs = serve_service(spec, cell, settings)
    assert without_what_differs(ours) == without_what_differs(theirs)
    again = sweep_of(theirs)
    assert (again.load, again.serve, again.dataset) == (spec.load, spec.serve, spec.dataset)


def test_the_chart_s_sweep_is_that_of_its_values(helm: Helm) -> None:
    given = {"seed": 7, "finetune": {"learning_rate": 2e-4}, "load": {"repeats": 5}}
    manifests = helm.template("--set-json", f"sweep={json.dumps(given)}")
    spec = sweep_of(ray_object(manifests))
    assert spec.cells == ["distilgpt2@1xv100-1cpu"]
    assert (spec.seed, spec.finetune.learning_rate, spec.load.repeats) == (7, 2e-4, 5)
    assert spec.finetune.profile == "1xv100-1cpu"


def test_settings_reach_the_pods_as_they_do_from_the_renderer(helm: Helm) -> None:
    digest = "sha256:" + "0" * 64
    values = {
        "image.repository": "registry.example/medsweep",
        "image.digests.cu126": digest,
        "image.tag": "1.2.3",
        "image.pullSecret": "registry",
        "results": "s3://bucket/medsweep",
        "resultsSecret": "medsweep-s3",
        "modelCacheClaim": "medsweep-models",
        "head.cpus": "8",
        "scratchGi": "50",
        "ttlSeconds": "300",
        "queue": "gpus",
    }
    ours = ray_object(helm.template("--set", ",".join(f"{k}={v}" for k, v in values.items())))
    spec = sweep_of(ours)
    plan = make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())
    settings = ClusterSettings(
        image="registry.example/medsweep",
        image_digests={"cu126": digest},
        image_tag="1.2.3",
        image_pull_secret="registry",
        results="s3://bucket/medsweep",
        results_secret="medsweep-s3",
        model_cache_claim="medsweep-models",
        head_cpus=8,
        scratch_gib=50,
        ttl_s=300,
        queue="gpus",
    )
    theirs = benchmark_job(spec, plan.cells[0], settings)
    assert without_what_differs(ours) == without_what_differs(theirs)


def name_of(helm: Helm, values: str) -> str:
    name: str = ray_object(helm.template("--set", values))["metadata"]["name"]
    return name


def test_another_job_has_another_name_and_a_served_model_keeps_its_own(helm: Helm) -> None:
    """KubeRay reads deadlines and retries at each step, and ignores other changes of a job."""
    before = name_of(helm, "mode=benchmark")
    for change in ("head.cpus=8", "image.tag=v2", "queue=other", "sweep.seed=3"):
        assert name_of(helm, f"mode=benchmark,{change}") != before
        assert name_of(helm, f"mode=serve,{change}") == "bench-medsweep"
    for change in ("backoffLimit=3", "deadlines.benchmark=50000", "deadlines.start=60"):
        assert name_of(helm, f"mode=benchmark,{change}") == before
    assert name_of(helm, "mode=benchmark,ttlSeconds=600") == before


@pytest.mark.parametrize("values", ["mode=benchmark", "mode=serve", "controller.enabled=true"])
def test_what_does_not_change_the_job_leaves_it_alone(values: str, helm: Helm) -> None:
    """A served model must not go away because somebody wants alerts."""
    besides = (
        *("monitoring.rules.enabled=true", "monitoring.podMonitor.interval=30s"),
        *("networkPolicy.cloudIdentity=true", "claim.create=true"),
        "serviceAccount.annotations.team=a",
    )

    def runs(*more: str) -> Manifest:
        manifests = helm.template("--set", ",".join((values, *more)))
        (run,) = (each for each in manifests if each["kind"] in (*RAY, "Job"))
        return run

    assert runs(*besides) == runs()
    for change in ("image.tag=v2", "head.cpus=8", "results=pvc://other"):
        assert runs(change) != runs()


def test_a_worker_without_gpus_keeps_from_the_nodes_of_load_generators(helm: Helm) -> None:
    clinic = HardwareProfile("clinic-pc", 4, 0, None, 16 * GIB)
    values = "profile.name=clinic-pc,profile.cpus=4,profile.gpus=0,profile.memoryGi=16"
    values += ",profile.gpu=none,profile.imageFamily=cpu"
    (group,) = cluster_of(ray_object(helm.template("--set", values)))["workerGroupSpecs"]
    theirs = worker_template(ClusterSettings(), {}, clinic, image_family(clinic), [])
    assert group["groupName"] == "cpu"
    ours = group["template"]["spec"]
    for field in ("affinity", "nodeSelector", "securityContext"):
        assert ours[field] == theirs["spec"][field]
    assert "tolerations" not in ours


@pytest.mark.parametrize("release", ["1st", "a" * 53])
def test_names_fit_whatever_the_release_is_called(release: str, helm: Helm) -> None:
    done = helm.run("template", release, str(CHART), "--set", "mode=serve")
    manifests = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert broken(ray_object(manifests)) == []
    assert all(len(each["metadata"]["name"]) <= 63 for each in manifests)


def test_the_claim_outlives_the_release(helm: Helm) -> None:
    manifests = helm.template("--set", "claim.create=true,claim.storageClass=fast")
    (claim,) = (each for each in manifests if each["kind"] == "PersistentVolumeClaim")
    assert core_faults(claim) == []
    assert claim["metadata"]["name"] == "medsweep-results"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["storageClassName"] == "fast"
