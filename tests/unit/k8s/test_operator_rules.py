"""The rules that manifests are checked by, of KubeRay, Kueue and the schemas, can fail."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest

from crds import faults
from medsweep.k8s.render import benchmark_job, serve_service
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec
from operator_rules import broken

from .conftest import QUEUED, Manifest, cluster_of

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
