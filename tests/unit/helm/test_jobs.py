"""templates/jobs and templates/rbac: the controller, what it may do, and who gets in."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from core_objects import core_faults
from crds import ROOT
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.spec import SweepSpec

from .conftest import Helm

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def controlled(helm: Helm) -> dict[str, Manifest]:
    """The release of a whole sweep, by kind and name."""
    manifests = helm.template("--set", "controller.enabled=true,queue=medsweep,image.tag=1.0")
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}


def test_the_controller_takes_the_place_of_the_one_job(controlled: dict[str, Manifest]) -> None:
    kinds = sorted(name.partition("/")[0] for name in controlled)
    assert kinds == [
        *("ConfigMap", "Job", "NetworkPolicy", "Role", "RoleBinding"),
        *("ServiceAccount", "ServiceAccount"),
    ]
    for manifest in controlled.values():
        assert core_faults(manifest) == []


def test_what_the_controller_reads_is_what_the_command_line_takes(
    controlled: dict[str, Manifest],
) -> None:
    data = controlled["ConfigMap/bench-controller"]["data"]
    spec = SweepSpec.model_validate(yaml.safe_load(data["sweep.yaml"]))
    assert (spec.name, spec.cells) == ("medlm-paper", ["paper"])
    settings = ClusterSettings.model_validate(yaml.safe_load(data["cluster.yaml"]))
    assert settings == ClusterSettings(queue="medsweep", image_tag="1.0")


def test_the_controller_may_do_the_least(controlled: dict[str, Manifest]) -> None:
    (job,) = (each for name, each in controlled.items() if name.startswith("Job/"))
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "medsweep-controller"
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    role = controlled["Role/medsweep-controller"]
    words = {
        word
        for rule in role["rules"]
        for word in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
    }
    assert not words & {"*", "secrets", "pods/exec", "impersonate", "escalate", "bind"}
    base = yaml.safe_load_all((ROOT / "k8s" / "base" / "accounts.yaml").read_text())
    (theirs,) = (
        each
        for each in base
        if each["kind"] == "Role" and each["metadata"]["name"] == "medsweep-controller"
    )
    assert role["rules"] == theirs["rules"]


def test_without_kueue_the_controller_may_count_the_nodes_and_no_more(helm: Helm) -> None:
    manifests = helm.template("--set", "controller.enabled=true")
    (role,) = (each for each in manifests if each["kind"] == "ClusterRole")
    assert core_faults(role) == []
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    (binding,) = (each for each in manifests if each["kind"] == "ClusterRoleBinding")
    assert core_faults(binding) == []
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_the_jobs_account_is_given_no_token_and_no_role(helm: Helm) -> None:
    manifests = helm.template("--set", "serviceAccount.annotations.role=reader")
    assert {each["kind"] for each in manifests} == {"RayJob", "ServiceAccount", "NetworkPolicy"}
    (account,) = (each for each in manifests if each["kind"] == "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["annotations"] == {"role": "reader"}
    none = helm.template("--set", "serviceAccount.create=false,networkPolicy.enabled=false")
    assert {each["kind"] for each in none} == {"RayJob"}


def test_the_dashboard_is_open_to_the_operator_and_the_release_alone(helm: Helm) -> None:
    (policy,) = (each for each in helm.template() if each["kind"] == "NetworkPolicy")
    assert core_faults(policy) == []
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    reach = [
        rule["from"]
        for rule in policy["spec"]["ingress"]
        if "ports" not in rule or 8265 in [port["port"] for port in rule["ports"]]
    ]
    assert reach == [
        [
            {
                "podSelector": {
                    "matchLabels": {
                        "app.kubernetes.io/part-of": "medsweep",
                        "app.kubernetes.io/instance": "bench",
                    }
                }
            }
        ],
        [
            {
                "namespaceSelector": {},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
            }
        ],
    ]
    everywhere = [
        rule["ports"] for rule in policy["spec"]["egress"] if "0.0.0.0/0" in json.dumps(rule["to"])
    ]
    assert everywhere == [[{"protocol": "TCP", "port": 443}]]


def test_the_cloud_is_asked_for_an_identity_only_where_that_is_allowed(helm: Helm) -> None:
    for given, reached in (("false", False), ("true", True)):
        manifests = helm.template("--set", f"networkPolicy.cloudIdentity={given}")
        (policy,) = (each for each in manifests if each["kind"] == "NetworkPolicy")
        assert core_faults(policy) == []
        allowed = [
            peer["ipBlock"]["cidr"]
            for rule in policy["spec"]["egress"]
            for peer in rule["to"]
            if "ipBlock" in peer
        ]
        assert ("169.254.169.254/32" in allowed) == reached
