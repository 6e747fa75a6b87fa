"""The paper's sweep, planned, and what the renderer makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from medsweep.hardware.observe import host_profile
from medsweep.k8s.render import benchmark_job, finetune_job, serve_service
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec

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


@pytest.fixture(scope="session")
def paper() -> SweepSpec:
    """The paper's twelve cells."""
    return make_spec(name="paper-cells", stand_ins=False)


@pytest.fixture(scope="session")
def plan(paper: SweepSpec) -> Plan:
    """Its plan."""
    return planned(paper)


@pytest.fixture
def settings() -> ClusterSettings:
    """A cluster with everything left as it is."""
    return ClusterSettings()


def planned(spec: SweepSpec) -> Plan:
    """The plan of a sweep with made-up hashes."""
    return make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())


def everything(spec: SweepSpec, plan: Plan, settings: ClusterSettings) -> list[Manifest]:
    """Every manifest of a plan."""
    return [
        *(finetune_job(spec, adapter, settings) for adapter in plan.adapters.values()),
        *(benchmark_job(spec, cell, settings) for cell in plan.runnable),
        *(serve_service(spec, cell, settings) for cell in plan.runnable),
    ]


def cluster_of(manifest: Manifest) -> Manifest:
    """The Ray cluster of a job or a service."""
    spec = manifest["spec"]
    result: Manifest = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    return result


def templates(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """The role and the template of each pod of a job or a service."""
    cluster = cluster_of(manifest)
    yield "head", cluster["headGroupSpec"]["template"]
    yield "worker", cluster["workerGroupSpecs"][0]["template"]
    if manifest["kind"] == "RayJob":
        yield "submitter", manifest["spec"]["submitterPodTemplate"]


def variables(template: Manifest) -> dict[str, Manifest]:
    """The variables of a pod's container, by name."""
    return {each["name"]: each for each in template["spec"]["containers"][0]["env"]}
