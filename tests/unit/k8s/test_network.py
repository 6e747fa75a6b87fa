"""Every pod is restricted and behind a network policy, however it came into the cluster."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from crds import ROOT
from medsweep.k8s.fetch import fetch_pod
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.submit import tasks_of
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec
from network import OURS, dashboard_peers, operator, pods_of, templates_of
from pod_security import violations

Manifest = dict[str, Any]


def documents(folder: str) -> list[Manifest]:
    return [
        document
        for path in sorted((ROOT / "k8s" / folder).glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


@pytest.fixture(scope="module")
def policies() -> list[Manifest]:
    return [each for each in documents("base") if each["kind"] == "NetworkPolicy"]


def test_only_operator_and_jobs_reach_a_dashboard(
    policies: list[Manifest], paper: SweepSpec, plan: Plan, settings: ClusterSettings
) -> None:
    submitted = [task.manifest() for task in tasks_of(paper, plan, settings)]
    ways = {
        "samples": documents("samples"),
        "submit": submitted,
        "fetch": [fetch_pod(settings, "trial")],
    }
    counts = {}
    for way, manifests in ways.items():
        templates = [pod for manifest in manifests for pod in templates_of(manifest)]
        assert [each for pod in templates for each in violations(pod["spec"])] == []
        pods = [pod["metadata"]["labels"] for pod in templates]
        counts[way] = len(pods)
        for pod in pods:
            assert dashboard_peers(policies, pod) == [OURS, operator(settings.operator_namespace)]
    assert counts["samples"] > 40
    assert counts["submit"] == 3 * len(submitted)
    assert counts["fetch"] == 1


def test_overlays_hold_no_pods_of_their_own() -> None:
    for folder in ("base", "overlays/kueue"):
        for document in documents(folder):
            if document["kind"] != "Kustomization":
                assert list(pods_of(document)) == []


def test_a_pod_outside_of_the_policies_is_found(policies: list[Manifest]) -> None:
    jobs = [each for each in policies if each["metadata"]["name"] == "medsweep-jobs"]
    assert dashboard_peers(jobs, {"app": "other"}) == ["everyone"]
    # The namespace's own default lets nobody in.
    assert dashboard_peers(policies, {"app": "other"}) == []


def test_a_pod_that_is_not_restricted_is_found() -> None:
    container = {"name": "c", "ports": [{"hostPort": 80}]}
    spec = {"containers": [container], "hostPID": True, "volumes": [{"name": "v", "hostPath": {}}]}
    assert list(violations(spec)) == [
        "hostPID",
        "volume v: hostPath",
        "c: allowPrivilegeEscalation",
        "c: capabilities are not dropped",
        "c: may run as root",
        "c: seccomp profile None",
        "c: hostPort",
    ]
