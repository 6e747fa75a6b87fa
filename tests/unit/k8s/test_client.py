"""The client against an API server that misbehaves, and every fault as a sentence."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from apiserver.server import ApiServer, Failure
from medsweep.errors import EnvironmentFault, InputError, MedSweepError
from medsweep.k8s.api_errors import api_fault
from medsweep.k8s.client import Api, Gone, connect
from medsweep.k8s.resources import NAMESPACES, PODS, RAY_JOBS

Object = dict[str, Any]

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def running() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def server(
    running: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    """One that answers well until a test says otherwise."""
    monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig")))
    running.failures, tokens = [], set(running.tokens)
    yield running
    running.tokens = tokens


@pytest.fixture
def waits() -> list[float]:
    """How long the client waited, each time."""
    return []


@pytest.fixture
def api(server: ApiServer, waits: list[float]) -> Api:
    return Api(connect().client, wait=waits.append)


@pytest.fixture
def namespace(api: Api, request: pytest.FixtureRequest) -> str:
    name = f"n{abs(hash(request.node.name))}"
    api.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", **named(name)})
    return name


def named(name: str, **rest: Any) -> Object:
    return {"metadata": {"name": name, **rest}}


def pod(namespace: str, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        **named(name, namespace=namespace, labels={"a": "b"}),
        "spec": {"nodeName": "n"},
    }


def test_apply_creates_and_the_same_again_changes_nothing(api: Api, namespace: str) -> None:
    first = api.apply(PODS, pod(namespace, "one"))
    assert api.apply(PODS, pod(namespace, "one")) == first
    assert api.get(PODS, namespace, "one") == first
    api.delete(PODS, namespace, "one")
    api.delete(PODS, namespace, "one")
    assert api.get(PODS, namespace, "one") is None


def test_lists_come_in_pages_and_begin_again_when_the_rest_is_forgotten(
    api: Api, namespace: str, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsweep.k8s.client.PAGE", 2)
    for number in range(5):
        api.apply(PODS, pod(namespace, f"p{number}"))
    server.requests.clear()
    names = [each["metadata"]["name"] for each in api.objects(PODS, namespace, "a=b")]
    assert names == [f"p{number}" for number in range(5)]
    assert server.count("list") == 3
    assert api.objects(PODS, namespace, "a=c") == []
    pages = api.pages(PODS, namespace)
    next(pages)
    api.apply(PODS, pod(namespace, "p9"))
    server.forget()
    with pytest.raises(Gone):
        next(pages)
    server.failures = [Failure(410, verb="list")]
    assert len(api.objects(PODS, namespace)) == 6


@pytest.mark.parametrize(
    ("failure", "waited"),
    [
        (Failure(429, 2, headers={"Retry-After": "3"}), [3.0, 3.0]),
        (Failure(500, 3), [0.25, 0.5, 1.0]),
        (Failure(503), [0.25]),
        (Failure(0, 2), [0.25, 0.5]),
    ],
    ids=["429", "500", "503", "cut"],
)
def test_what_passes_is_asked_again(
    api: Api,
    namespace: str,
    server: ApiServer,
    waits: list[float],
    failure: Failure,
    waited: list[float],
) -> None:
    server.failures = [failure]
    api.apply(PODS, pod(namespace, "one"))
    assert waits == waited


def test_a_server_that_was_there_is_waited_for_longer_than_one_that_never_was(
    api: Api,
    namespace: str,
    server: ApiServer,
    waits: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.failures = [Failure(503, 1000)]
    with pytest.raises(EnvironmentFault, match=r"does not answer \(HTTP 503\)"):
        api.get(PODS, namespace, "one")
    assert 500 < sum(waits) <= 600
    waits.clear()
    # Port 9 is for discarding: nobody listens there.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text((tmp_path / "kubeconfig").read_text().replace(server.url, NOBODY))
    monkeypatch.setenv("KUBECONFIG", str(elsewhere))
    new = Api(connect().client, wait=waits.append)
    with pytest.raises(EnvironmentFault, match="does not answer.*Connection refused.*context"):
        new.get(PODS, namespace, "one")
    assert sum(waits) <= 2
    with pytest.raises(EnvironmentFault, match="does not answer.*Connection refused"):
        new.version()


def test_no_cluster_and_no_such_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(EnvironmentFault, match="no cluster: .*give a kubeconfig as KUBECONFIG"):
        connect()
    with pytest.raises(InputError, match="--context far: .*get-contexts"):
        connect("far")


def test_a_kubeconfig_without_verification_does_not_warn_at_each_request(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "insecure"
    text = server.kubeconfig(path).read_text().replace("http://", "https://")
    value = json.loads(text)
    value["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    path.write_text(json.dumps(value))
    monkeypatch.setenv("KUBECONFIG", str(path))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always", urllib3.exceptions.SecurityWarning)  # as urllib3 does
        connect()
        warnings.warn("unverified", urllib3.exceptions.InsecureRequestWarning, stacklevel=1)
    assert shown == []


def expired(api: Api, server: ApiServer, namespace: str) -> None:
    server.tokens = set()
    api.objects(PODS, namespace)


def forbidden(api: Api, server: ApiServer, namespace: str) -> None:
    connect(user="eve").objects(PODS, namespace)


def no_crd(api: Api, server: ApiServer, namespace: str) -> None:
    api.objects(RAY_JOBS, namespace)


def no_namespace(api: Api, server: ApiServer, namespace: str) -> None:
    api.apply(PODS, pod("absent", "one"))


def terminating(api: Api, server: ApiServer, namespace: str) -> None:
    server.store.get(("", "namespaces"), "", namespace)["metadata"]["deletionTimestamp"] = "now"
    api.apply(PODS, pod(namespace, "one"))


def conflict(api: Api, server: ApiServer, namespace: str) -> None:
    api.apply(PODS, pod(namespace, "one"))
    server.store.patch(("", "pods"), namespace, "one", {"spec": {"nodeName": "x"}}, "", "bob")
    api.apply(PODS, pod(namespace, "one"))


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (expired, "token of the kubeconfig's context has expired.*log in again"),
        (forbidden, 'pods n.*: not allowed to list: User "eve".*role medsweep-controller'),
        (no_crd, "does not know rayjobs.ray.io v1: install KubeRay's operator"),
        (no_namespace, "there is no such namespace; create it"),
        (terminating, "the namespace is being deleted; wait until it is gone"),
        (conflict, r"\.spec\.nodeName: conflict with \"bob\".*medsweep k8s delete"),
    ],
)
def test_a_refusal_is_a_sentence_with_what_to_do(
    api: Api,
    server: ApiServer,
    namespace: str,
    cause: Callable[[Api, ApiServer, str], None],
    message: str,
) -> None:
    with pytest.raises(MedSweepError, match=message):
        cause(api, server, namespace)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        # As API servers 1.36 write them.
        (
            'rayjobs.ray.io is forbidden: User "system:serviceaccount:a:medsweep-controller" '
            'cannot list resource "rayjobs" in API group "ray.io" in the namespace "b"',
            "not allowed to list: .*; request the role medsweep-controller",
        ),
        (
            'rayjobs.ray.io "x" is forbidden: exceeded quota: team, requested: '
            "count/rayjobs.ray.io=1, used: count/rayjobs.ray.io=1, limited: count/rayjobs.ray.io=1",
            "exceeded quota: team.*; request more quota, or give a smaller --max-at-once",
        ),
        (
            'pods "x" is forbidden: status unknown for quota: medsweep, resources: pods',
            "may list it, but a policy of the cluster refuses it: .*status unknown for quota",
        ),
        (
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "may list it, but a policy of the cluster refuses it: .*violates PodSecurity",
        ),
        (
            'admission webhook "validate.example.com" denied the request: no team label',
            "may list it, but a policy of the cluster refuses it: .*no team label",
        ),
    ],
)
def test_a_missing_right_a_quota_and_a_policy_have_advice_of_their_own(
    message: str, advice: str
) -> None:
    body = json.dumps({"kind": "Status", "code": 403, "message": message}).encode()
    fault = api_fault(403, body, "list", PODS, "b/x")
    assert fault.exit_code == 4
    assert re.search(advice, str(fault))


def test_a_manifest_that_the_server_refuses_is_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ApiServer(check=lambda *_: ["metadata.name: must be at most 47 characters"]) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        server.store.kinds["ray.io", "rayjobs"] = ("RayJob", True)
        job = {"apiVersion": "ray.io/v1", "kind": "RayJob", **named("x" * 60, namespace="n")}
        with pytest.raises(InputError, match="rejects this object.*at most 47 characters"):
            connect().apply(RAY_JOBS, job)
