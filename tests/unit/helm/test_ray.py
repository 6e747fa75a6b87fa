"""templates/ray: the jobs are the renderer's."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import yaml

from core_objects import core_faults
from crds import ROOT, faults
from medsweep.hardware.observe import host_profile
from medsweep.k8s.render import benchmark_job, finetune_job, serve_service
from medsweep.k8s.settings import ClusterSettings, Toleration
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from operator_rules import broken

from .conftest import ALL_PROFILES, CHART, MODES, Helm

Manifest = dict[str, Any]
Matrix = dict[tuple[str, str], list[Manifest]]

RAY = ("RayJob", "RayService")


def ray_object(manifests: list[Manifest]) -> Manifest:
    (result,) = (each for each in manifests if each["kind"] in RAY)
    return result


def test_the_matrix_is_whole(matrix: Matrix) -> None:
    assert len(matrix) == (9 + 1) * 3
    for (_, mode), manifests in matrix.items():
        assert len(manifests) == 4
        assert ray_object(manifests)["kind"] == ("RayService" if mode == "serve" else "RayJob")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", ALL_PROFILES)
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


REASONS = {
    "metadata.name": "the chart does not know keys; a served model keeps its name",
    "label app.kubernetes.io/instance": "only a release has it",
    "label app.kubernetes.io/managed-by": "`Helm`, or `medsweep`",
    "label app.kubernetes.io/version": "Helm's convention",
    "label helm.sh/chart": "Helm's convention",
    "label medsweep.io/cell": "a key, which needs a plan",
    "label medsweep.io/adapter": "a key, which needs a plan",
    "spec.entrypoint": "`--cell` or `--adapter` with a key; the sweep holds one cell or adapter",
    "spec.serveConfigV2": "the cell by its name, or by its key",
    "env MEDSWEEP_SWEEP": "the same cells, as the values or the sweep file give them",
}
"""Every field in which the chart's objects differ from the renderer's, as in docs/helm.md."""


def fields_of(value: Any, at: str = "") -> dict[str, Any]:
    """Return every field of a manifest by its path; elements of lists by their name."""
    if isinstance(value, dict) and value:
        children = value.items()
    elif isinstance(value, list) and value:
        names = [each.get("name") if isinstance(each, dict) else None for each in value]
        children = zip(map(str, (n or i for i, n in enumerate(names))), value, strict=True)
    else:
        return {at: value}
    return {
        path: leaf
        for key, child in children
        for path, leaf in fields_of(child, f"{at}.{key}".lstrip(".")).items()
    }


def differing(ours: Manifest, theirs: Manifest) -> set[str]:
    """Return the fields that differ, labels and variables of all pods under one name."""
    left, right = fields_of(ours), fields_of(theirs)
    missing = object()
    paths = {
        path
        for path in left.keys() | right.keys()
        if left.get(path, missing) != right.get(path, missing)
    }
    short = set()
    for path in paths:
        label = re.search(r"metadata\.labels\.(.*)$", path)
        variable = re.search(r"containers\.\S+\.env\.(\w+)\.value$", path)
        if label:
            path = f"label {label[1]}"
        elif variable:
            path = f"env {variable[1]}"
        short.add(path)
    return short


def rendered(ours: Manifest, mode: str, settings: ClusterSettings) -> Manifest:
    """Return what the renderer makes of the sweep in one of the chart's objects."""
    spec = sweep_of(ours)
    plan = make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())
    (cell,) = plan.cells
    if mode == "finetune":
        return finetune_job(spec, plan.adapters[cell.adapter], settings)
    return {"benchmark": benchmark_job, "serve": serve_service}[mode](spec, cell, settings)


def without_keys(entrypoint: str) -> list[str]:
    words = entrypoint.split()
    for flag in ("--cell", "--adapter"):
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    return words


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("profile", ALL_PROFILES)
def test_the_chart_s_object_is_the_renderer_s(profile: str, mode: str, matrix: Matrix) -> None:
    ours = ray_object(matrix[profile, mode])
    theirs = rendered(ours, mode, ClusterSettings(queue="medsweep"))
    assert differing(ours, theirs) <= REASONS.keys()
    # What differs for a reason differs in nothing else.
    if mode == "serve":
        configs = [json.loads(each["spec"]["serveConfigV2"]) for each in (ours, theirs)]
        for config in configs:
            (application,) = config["applications"]
            del application["args"]["cell"]
        assert configs[0] == configs[1]
    else:
        commands = [without_keys(each["spec"]["entrypoint"]) for each in (ours, theirs)]
        assert commands[0] == commands[1]
    spec, again = sweep_of(ours), sweep_of(theirs)
    assert (again.load, again.serve, again.dataset) == (spec.load, spec.serve, spec.dataset)


@pytest.mark.parametrize("mode", MODES)
def test_shards_of_the_load_are_the_renderer_s(mode: str, helm: Helm) -> None:
    load = {"points": [{"concurrency": 10_000}], "shards": 4}
    values = ("--set-json", f'sweep={{"load": {json.dumps(load)}}}', "--set", f"mode={mode}")
    ours = ray_object(helm.template(*values))
    assert broken(ours) == []
    assert faults(ours) == []
    assert differing(ours, rendered(ours, mode, ClusterSettings())) <= REASONS.keys()
    names = [each["groupName"] for each in cluster_of(ours)["workerGroupSpecs"]]
    assert names == (["gpu", "load"] if mode == "benchmark" else ["gpu"])


def test_the_docs_list_every_difference(matrix: Matrix) -> None:
    seen: set[str] = set()
    for (_, mode), manifests in matrix.items():
        ours = ray_object(manifests)
        seen |= differing(ours, rendered(ours, mode, ClusterSettings(queue="medsweep")))
    assert seen == REASONS.keys(), "a reason without a difference is out of date"
    docs = (ROOT / "docs" / "helm.md").read_text(encoding="utf-8")
    rows = "".join(f"| `{field}` | {reason} |\n" for field, reason in REASONS.items())
    assert f"| differs | why |\n| --- | --- |\n{rows}\n" in docs


def test_a_difference_is_found(matrix: Matrix) -> None:
    ours = ray_object(matrix["clinic-pc", "benchmark"])
    other = copy.deepcopy(ours)
    (group,) = cluster_of(other)["workerGroupSpecs"]
    del group["template"]["spec"]["affinity"]
    paths = differing(ours, other)
    assert paths
    assert all("spec.affinity.podAntiAffinity" in path for path in paths)


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
        "runtimeClassName": "nvidia",
        "tolerations[0].key": "dedicated",
        "tolerations[0].value": "bench",
        "tolerations[1].key": "spot",
        "tolerations[1].operator": "Exists",
        "tolerations[1].effect": "NoSchedule",
        "tolerations[2].key": "cloud.google.com/gke-spot",
        "tolerations[2].value": "",
    }
    ours = ray_object(helm.template("--set", ",".join(f"{k}={v}" for k, v in values.items())))
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
        runtime_class="nvidia",
        tolerations=[
            Toleration(key="dedicated", value="bench"),
            Toleration(key="spot", operator="Exists", effect="NoSchedule"),
            Toleration(key="cloud.google.com/gke-spot", value=""),
        ],
    )
    assert differing(ours, rendered(ours, "benchmark", settings)) <= REASONS.keys()


def test_a_toleration_has_a_value_or_takes_any(helm: Helm) -> None:
    for fields in ({"operator": "Exists", "value": "bench"}, {"operator": "Equal"}, {}):
        taint = {"key": "dedicated", **fields}
        given = ",".join(f"tolerations[0].{name}={value}" for name, value in taint.items())
        assert "tolerations" in helm.refusal("--set", given)
        with pytest.raises(ValueError, match="give a value with Equal, and none with Exists"):
            Toleration.model_validate(taint)


def test_the_chart_takes_the_taints_that_the_settings_take(helm: Helm) -> None:
    given = "tolerations[0].key=spot nodes,tolerations[0].operator=Exists"
    assert "tolerations" in helm.refusal("--set", given)
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    fields = schema["properties"]["tolerations"]["items"]["properties"]
    ours = Toleration.model_json_schema()["properties"]
    (value,) = (each for each in ours["value"]["anyOf"] if each["type"] == "string")
    assert fields["value"] == value
    for name in ("pattern", "maxLength"):
        assert fields["key"][name] == ours["key"][name]
    assert set(fields) == set(ours)


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


def test_a_worker_without_gpus_keeps_from_the_nodes_of_load_generators(matrix: Matrix) -> None:
    (group,) = cluster_of(ray_object(matrix["clinic-pc", "benchmark"]))["workerGroupSpecs"]
    assert group["groupName"] == "cpu"
    pod = group["template"]["spec"]
    (apart,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["labelSelector"]["matchLabels"] == {"medsweep.io/role": "head"}
    assert "tolerations" not in pod


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
