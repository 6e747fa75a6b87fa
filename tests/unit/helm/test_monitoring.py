"""templates/monitoring: what Prometheus scrapes and evaluates, and what Grafana shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from core_objects import core_faults
from crds import faults
from medsweep.k8s.conventions import pod_labels
from medsweep.k8s.pods import METRICS_PORT
from medsweep.monitoring.dashboards import NAMES, dashboards
from medsweep.monitoring.rules import rule_file

from .conftest import Helm

Manifest = dict[str, Any]

ON = ",".join(f"monitoring.{part}.enabled=true" for part in ("podMonitor", "rules", "dashboards"))


@pytest.fixture(scope="module")
def monitored(helm: Helm) -> list[Manifest]:
    return helm.template("--set", f"{ON},mode=none,monitoring.rules.labels.release=prometheus")


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def test_monitoring_is_off_until_asked_for(helm: Helm) -> None:
    kinds = {each["kind"] for each in helm.template()}
    assert not kinds & {"PodMonitor", "PrometheusRule", "ConfigMap"}


def test_heads_and_workers_of_every_release_are_scraped(monitored: list[Manifest]) -> None:
    (monitor,) = of_kind(monitored, "PodMonitor")
    assert faults(monitor) == []
    spec = monitor["spec"]
    assert spec["namespaceSelector"] == {"matchNames": ["medsweep"]}
    ports = [each["port"] for each in spec["podMetricsEndpoints"]]
    assert ports == ["medsweep", "metrics", "as-metrics", "dash-metrics"]
    # The selector finds the renderer's pods.
    labels = pod_labels("benchmark", "s", "k", "p")
    selector = spec["selector"]
    assert selector["matchLabels"].items() <= labels.items()
    (role,) = selector["matchExpressions"]
    assert (role["key"], role["operator"]) == ("medsweep.io/role", "In")
    assert set(role["values"]) == {"head", "worker"}
    assert set(spec["podTargetLabels"]) < set(labels)


def test_the_ports_that_are_scraped_are_the_pods_own_and_let_through(helm: Helm) -> None:
    manifests = helm.template("--set", ON)
    (job,) = of_kind(manifests, "RayJob")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in head["ports"]}
    assert ports["medsweep"] == METRICS_PORT
    # KubeRay adds the port `metrics`, 8080, itself.
    scraped = {8080, *(ports[name] for name in ("medsweep", "as-metrics", "dash-metrics"))}
    (policy,) = of_kind(manifests, "NetworkPolicy")
    let_in = [
        {port["port"] for port in rule["ports"]}
        for rule in policy["spec"]["ingress"]
        if "medsweep.io/monitoring" in json.dumps(rule)
    ]
    assert let_in == [scraped]


def test_the_rules_are_those_that_were_tested(monitored: list[Manifest]) -> None:
    (rules,) = of_kind(monitored, "PrometheusRule")
    assert faults(rules) == []
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    # Once through JSON, since Helm writes 0.5 and 1e9 in its own way.
    assert json.loads(json.dumps(rules["spec"])) == rule_file()


def test_every_dashboard_is_a_config_map_for_the_sidecar(monitored: list[Manifest]) -> None:
    maps = of_kind(monitored, "ConfigMap")
    shipped = {}
    for each in maps:
        assert core_faults(each) == []
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = each["data"].items()
        assert len(yaml.safe_dump(each)) < 2**20  # an object's limit in etcd
        shipped[file.removesuffix(".json")] = json.loads(text)
    assert shipped == dashboards()
    assert set(shipped) == set(NAMES)
