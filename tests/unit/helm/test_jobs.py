"""templates/jobs and templates/rbac: the controller, what it may do, and who gets in."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from core_objects import core_faults
from crds import ROOT
from medsweep.hardware.observe import host_profile
from medsweep.k8s.fetch import fetch_pod
from medsweep.k8s.settings import ClusterSettings, Toleration
from medsweep.k8s.submit import tasks_of
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from network import (
    CLOUD_IDENTITY,
    CLUSTER_DNS,
    OURS,
    dashboard_peers,
    operator,
    pods_of,
    reach,
    templates_of,
)
from pod_security import violations

from .conftest import Helm

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def controlled(helm: Helm) -> dict[str, Manifest]:
    """The release of a whole sweep, by kind and name."""
    values = "controller.enabled=true,queue=medsweep,image.tag=1.0,runtimeClassName=nvidia"
    values += ",tolerations[0].key=spot,tolerations[0].operator=Exists"
    manifests = helm.template("--set", values)
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}


def test_the_controller_takes_the_place_of_the_one_job(controlled: dict[str, Manifest]) -> None:
    kinds = sorted(name.partition("/")[0] for name in controlled)
    assert kinds == [
        *("ConfigMap", "Job", "NetworkPolicy", "NetworkPolicy", "Pod", "Role", "RoleBinding"),
        *("ServiceAccount", "ServiceAccount"),
    ]
    for manifest in controlled.values():
        assert core_faults(manifest) == []


def test_what_the_controller_reads_is_what_the_command_line_takes(
    controlled: dict[str, Manifest],
) -> None:
    data = controlled["ConfigMap/bench-controller"]["data"]
    spec = SweepSpec.model_validate(yaml.safe_load(data["sweep.yaml"]))
    assert (spec.name, spec.cells) == ("paper-cells", ["paper"])
    settings = ClusterSettings.model_validate(yaml.safe_load(data["cluster.yaml"]))
    spot = Toleration(key="spot", operator="Exists")
    assert settings == ClusterSettings(
        queue="medsweep", image_tag="1.0", runtime_class="nvidia", tolerations=[spot]
    )
    (job,) = (each for name, each in controlled.items() if name.startswith("Job/"))
    tolerations = job["spec"]["template"]["spec"]["tolerations"]
    assert tolerations == [spot.model_dump(exclude_none=True)]


def test_the_controller_may_do_the_least(controlled: dict[str, Manifest]) -> None:
    (job,) = (each for name, each in controlled.items() if name.startswith("Job/"))
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "medsweep-controller"
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    role = controlled["Role/bench-controller"]
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
    kinds = {each["kind"] for each in manifests}
    assert kinds == {"RayJob", "ServiceAccount", "NetworkPolicy", "Pod"}
    (account,) = (each for each in manifests if each["kind"] == "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["annotations"] == {"role": "reader"}
    none = helm.template("--set", "serviceAccount.create=false,networkPolicy.enabled=false")
    assert {each["kind"] for each in none} == {"RayJob", "Pod"}


@pytest.mark.parametrize(
    ("values", "command"),
    [
        ("mode=benchmark", ["python", "/opt/medsweep/jobs/check.py", "/results"]),
        (
            "mode=none,results=s3://b/p,modelCacheClaim=m",
            ["python", "/opt/medsweep/jobs/check.py", "s3://b/p"],
        ),
        (
            "mode=serve",
            [
                *("python", "/opt/medsweep/jobs/check.py"),
                "http://bench-medsweep-serve-svc:8000/v1",
            ],
        ),
        (
            "controller.enabled=true",
            ["medsweep", "k8s", "status", "paper-cells", "--namespace", "medsweep"],
        ),
    ],
)
def test_helm_test_runs_a_check(values: str, command: list[str], helm: Helm) -> None:
    (pod,) = (each for each in helm.template("--set", values) if each["kind"] == "Pod")
    assert core_faults(pod) == []
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["command"] == command
    keys = [each["name"] for each in container["env"] if "valueFrom" in each]
    assert keys == (["MEDSWEEP_API_KEY"] if "serve" in values else [])
    assert pod["spec"]["automountServiceAccountToken"] is ("controller" in values)
    assert (ROOT / "jobs" / "check.py").is_file()


def policies(manifests: list[Manifest]) -> list[Manifest]:
    result = [each for each in manifests if each["kind"] == "NetworkPolicy"]
    for each in result:
        assert core_faults(each) == []
    return result


@pytest.mark.parametrize(
    "values", ["mode=finetune", "mode=benchmark", "mode=serve", "controller.enabled=true"]
)
def test_only_operator_and_jobs_reach_a_dashboard(values: str, helm: Helm) -> None:
    """Also of the jobs that the controller submits, which carry no label of its release."""
    given = f"{values},networkPolicy.operatorNamespace=operators,queue=q"
    manifests = helm.template("--set", given)
    templates = [pod for each in manifests for pod in templates_of(each)]
    assert len(templates) >= 2
    assert [each for pod in templates for each in violations(pod["spec"])] == []
    pods = [pod["metadata"]["labels"] for pod in templates]
    for each in manifests:
        if each["kind"] == "ConfigMap":
            spec = SweepSpec.model_validate(yaml.safe_load(each["data"]["sweep.yaml"]))
            settings = ClusterSettings.model_validate(yaml.safe_load(each["data"]["cluster.yaml"]))
            assert settings.operator_namespace == "operators"
            names = dict.fromkeys(model_names(spec), "r")
            plan = make_plan(spec, "d" * 64, names, host_profile())
            submitted = tasks_of(spec, plan, settings)
            assert len(submitted) > 10
            pods += [pod for task in submitted for pod in pods_of(task.manifest())]
            pods += pods_of(fetch_pod(settings, spec.name))
    assert len(pods) > 1
    for pod in pods:
        assert dashboard_peers(policies(manifests), pod) == [OURS, operator("operators")]


def test_two_releases_do_not_open_each_other_s_dashboards(helm: Helm) -> None:
    pod = next(pods_of(next(each for each in helm.template() if each["kind"] == "RayJob")))
    both = policies(helm.template()) + policies(helm.template("--set", "mode=none"))
    assert dashboard_peers(both, pod) == 2 * [OURS, operator("ray-system")]


def test_only_the_controller_reaches_the_api_server(helm: Helm) -> None:
    (jobs,) = policies(helm.template())
    assert reach(jobs) == [("0.0.0.0/0", 443)]
    values = "controller.enabled=true,networkPolicy.apiServer={10.0.0.1/32,10.0.0.2/32}"
    jobs, controller = policies(helm.template("--set", values))
    assert reach(jobs) == [("0.0.0.0/0", 443)]
    (everywhere,) = (
        peer["ipBlock"]
        for rule in jobs["spec"]["egress"]
        for peer in rule["to"]
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    )
    assert everywhere["except"] == ["169.254.169.254/32", "10.0.0.1/32", "10.0.0.2/32"]
    assert reach(controller) == [
        (cidr, port) for cidr in ("10.0.0.1/32", "10.0.0.2/32") for port in (443, 6443)
    ]
    (role,) = controller["spec"]["podSelector"]["matchExpressions"]
    assert (role["key"], role["values"]) == ("medsweep.io/role", ["controller", "check"])


def test_the_cloud_is_asked_for_an_identity_only_where_that_is_allowed(helm: Helm) -> None:
    for given in ("false", "true"):
        manifests = helm.template("--set", f"networkPolicy.cloudIdentity={given}")
        (policy,) = (each for each in manifests if each["kind"] == "NetworkPolicy")
        assert core_faults(policy) == []
        identity = CLOUD_IDENTITY if given == "true" else []
        assert reach(policy) == [("0.0.0.0/0", 443), *identity]
        assert reach(policy, 53) == CLUSTER_DNS
