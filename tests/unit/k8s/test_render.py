"""The manifests of fine-tunes, cells and served models."""

from __future__ import annotations

import json
import shlex
import tomllib

import pytest

from crds import ROOT, faults
from medsweep.errors import InputError
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.observe import host_profile
from medsweep.k8s.render import (
    RAY_VERSION,
    SWEEP_VARIABLE,
    benchmark_job,
    finetune_job,
    serve_service,
)
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from operator_rules import broken
from support import make_spec

from .conftest import EVERYTHING, QUEUED, cluster_of, everything, planned, templates, variables


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
