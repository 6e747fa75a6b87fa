"""A served model is upgraded without a gap: the second cluster first, then the switch."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from apiserver.sandbox import Sandbox
from apiserver.service import SERVICES, ServicePlayer
from crds import ROOT
from medsweep.hardware.observe import host_profile
from medsweep.k8s.render import serve_service
from medsweep.k8s.resources import RAY_CLUSTERS, RAY_SERVICES
from medsweep.sweep.plan import make_plan, model_names
from support import make_spec, tool

Object = dict[str, Any]

S3 = {"results": "s3://bucket/one", "modelCacheClaim": "models"}
CHANGES = {
    "image": ({}, {"image.tag": "v2"}),
    "adapter": ({}, {"sweep.finetune.rank": "8"}),
    "model": ({}, {"model": "llama-3-8b"}),
    # Only Serve's config names the object store.
    "results": (S3, {**S3, "results": "s3://bucket/two"}),
}


def from_chart(cluster: Sandbox, values: dict[str, str]) -> Object:
    settings = ",".join(f"{key}={value}" for key, value in {"mode": "serve", **values}.items())
    command = [tool("helm"), "template", "bench", str(ROOT / "helm" / "medsweep")]
    command += ["--namespace", cluster.namespace, "--set", settings]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifests = [each for each in yaml.safe_load_all(done.stdout) if each]
    (service,) = (each for each in manifests if each["kind"] == "RayService")
    # Another Service would also select a cluster that does not answer yet.
    assert not [each for each in manifests if each["kind"] == "Service"]
    return service


def from_renderer(cluster: Sandbox, values: dict[str, str]) -> Object:
    spec = make_spec(name="trial", cells=["distilgpt2@1xv100-1cpu"])
    plan = make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())
    fields = {"image.tag": "image_tag", "modelCacheClaim": "model_cache_claim"}
    update = {fields.get(key, key): value for key, value in values.items()}
    return serve_service(spec, plan.cells[0], cluster.settings.model_copy(update=update))


@pytest.mark.parametrize(
    ("render", "change"),
    [
        *((from_chart, change) for change in CHANGES),
        *((from_renderer, change) for change in ("image", "results")),
    ],
)
def test_an_upgrade_has_no_gap(render: Any, change: str, cluster: Sandbox) -> None:
    first, second = (render(cluster, values) for values in CHANGES[change])
    name = first["metadata"]["name"]
    assert second["metadata"]["name"] == name
    player = ServicePlayer(cluster.operator, name)

    def clusters() -> list[str]:
        found = cluster.api.objects(RAY_CLUSTERS, cluster.namespace)
        return sorted(each["metadata"]["name"] for each in found)

    def answers() -> str:
        service = cluster.api.get(SERVICES, cluster.namespace, f"{name}-serve-svc")
        assert service is not None
        selected: str = service["spec"]["selector"]["ray.io/cluster"]
        assert selected in clusters()
        return selected

    cluster.api.apply(RAY_SERVICES, first)
    player.step(0)
    assert (clusters(), answers()) == ([f"{name}-0"], f"{name}-0")
    cluster.api.apply(RAY_SERVICES, second)
    for now in (10, 1000):  # an 8B model takes its time, and the first cluster answers
        player.step(now, lambda each: each == f"{name}-0")
        assert (clusters(), answers()) == ([f"{name}-0", f"{name}-1"], f"{name}-0")
    player.step(1010)
    assert (clusters(), answers()) == ([f"{name}-0", f"{name}-1"], f"{name}-1")
    player.step(1020)
    player.step(1020 + 299)  # its longest answer may still be on the way
    assert clusters() == [f"{name}-0", f"{name}-1"]
    player.step(1020 + 301)
    assert (clusters(), answers()) == ([f"{name}-1"], f"{name}-1")
    assert player.in_place == 0


def test_what_the_model_does_not_see_changes_nothing(cluster: Sandbox) -> None:
    first = from_chart(cluster, {})
    player = ServicePlayer(cluster.operator, first["metadata"]["name"])
    besides = {"monitoring.rules.enabled": "true", "deadlines.benchmark": "99999"}
    for now, service in enumerate((first, from_chart(cluster, besides))):
        cluster.api.apply(RAY_SERVICES, service)
        player.step(now)
    assert len(cluster.api.objects(RAY_CLUSTERS, cluster.namespace)) == 1


def test_without_the_strategy_an_upgrade_never_happens(cluster: Sandbox) -> None:
    """The player can tell the difference."""
    first, second = (from_renderer(cluster, values) for values in CHANGES["image"])
    for each in (first, second):
        each["spec"]["upgradeStrategy"] = {"type": "None"}
    player = ServicePlayer(cluster.operator, first["metadata"]["name"])
    cluster.api.apply(RAY_SERVICES, first)
    player.step(0)
    cluster.api.apply(RAY_SERVICES, second)
    player.step(1)
    assert len(cluster.api.objects(RAY_CLUSTERS, cluster.namespace)) == 1
    # Without the annotation the model would be restarted where it serves.
    first, second = (from_renderer(cluster, values) for values in CHANGES["results"])
    for each in (first, second):
        head = each["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]
        del head["metadata"]["annotations"]
    other = {**first["metadata"], "name": "other"}
    player = ServicePlayer(cluster.operator, "other")
    for now, each in enumerate((first, second)):
        cluster.api.apply(RAY_SERVICES, {**each, "metadata": other})
        player.step(now)
    assert player.in_place == 1
