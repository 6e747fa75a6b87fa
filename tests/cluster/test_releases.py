"""Releases of the chart in an empty namespace, and beside another release or k8s/base."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.sandbox import Sandbox, sandbox
from apiserver.server import ApiServer
from crds import ROOT
from medsweep.k8s.client import Api, connect
from medsweep.k8s.resources import CLAIMS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS, Resource
from support import tool

Object = dict[str, Any]

_KINDS = {
    each.kind: each
    for each in (
        *(CLAIMS, SERVICE_ACCOUNTS),
        Resource("", "v1", "configmaps", "ConfigMap"),
        Resource("batch", "v1", "jobs", "Job"),
        Resource("ray.io", "v1", "rayjobs", "RayJob"),
        Resource("ray.io", "v1", "rayservices", "RayService"),
        Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
        Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
        Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
        Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False),
        Resource(
            "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
        ),
    )
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API server in this process that Helm can talk to."""
    with ApiServer(object_faults) as running:
        running.anonymous = True
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig")))
        api = connect()
        with installed(api, crd_documents(schemas=False)):
            yield api


@pytest.fixture
def base(server: Api) -> Iterator[Sandbox]:
    """A namespace with k8s/base."""
    with sandbox(server) as made:
        yield made


@pytest.fixture
def empty(server: Api) -> str:
    """A namespace with nothing in it."""
    metadata = {"name": "empty"}
    server.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return "empty"


def helm(release: str, namespace: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """Install as far as Helm looks at the cluster: it renders, and claims what it would create."""
    command = [tool("helm"), "upgrade", "--install", release, str(ROOT / "helm" / "medsweep")]
    command += ["--namespace", namespace, "--dry-run=server", "--disable-openapi-validation"]
    command += ["--output", "json", *(word for each in settings for word in ("--set", each))]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def install(api: Api, release: str, namespace: str, *settings: str) -> str:
    """Install a release; return its notes."""
    done = helm(release, namespace, *settings)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    owner = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    for manifest in filter(None, yaml.safe_load_all(answer["manifest"])):
        metadata = manifest["metadata"]
        metadata["annotations"] = {**metadata.get("annotations", {}), **owner}
        api.apply(_KINDS[manifest["kind"]], manifest)
    return str(answer["info"]["notes"])


GIVEN = {
    "mode=benchmark": ["serviceAccount.create=false"],
    "mode=serve": ["serviceAccount.create=false"],
    "controller.enabled=true": [
        "serviceAccount.create=false",
        "controller.serviceAccount.create=false",
        "rbac.create=false",
    ],
}


@pytest.mark.parametrize("what", GIVEN)
def test_a_release_works_beside_k8s_base(what: str, base: Sandbox) -> None:
    refused = helm("bench", base.namespace, what)
    assert 'ServiceAccount "medsweep-job"' in refused.stderr
    assert "exists and cannot be imported" in refused.stderr
    notes = install(base.api, "bench", base.namespace, what, *GIVEN[what])
    assert "account" not in notes.partition("Next:")[0]
    for name in ("medsweep-job", "medsweep-controller"):
        account = base.api.get(SERVICE_ACCOUNTS, base.namespace, name)
        assert account is not None
        assert "annotations" not in account["metadata"], "it stays k8s/base's"


@pytest.mark.parametrize("what", GIVEN)
def test_two_releases_share_a_namespace(what: str, server: Api, empty: str) -> None:
    install(server, "one", empty, what, "claim.create=true")
    for missing in (*GIVEN[what], "claim.create=false"):
        others = [each for each in (*GIVEN[what], "claim.create=false") if each != missing]
        refused = helm("two", empty, what, *others, missing.replace("false", "true"))
        # The Role has the release's name, so each may have its own.
        assert (refused.returncode == 0) == (missing == "rbac.create=false")
    install(server, "two", empty, what, *GIVEN[what], "claim.create=false")
    install(server, "one", empty, what, "claim.create=true")  # once more, changing nothing


def test_the_notes_name_what_is_missing(server: Api, empty: str) -> None:
    values = ["mode=serve", "model=llama-3-8b", "resultsSecret=store", "image.pullSecret=registry"]
    values += ["serviceAccount.create=false", "modelCacheClaim=models"]
    notes = install(server, "bench", empty, *values)
    missing = notes.partition("Next:")[0]
    assert f"Namespace {empty} lacks" in missing
    for line in (
        "names no registry; --set image.repository=",
        f"kubectl label namespace {empty} pod-security.kubernetes.io/enforce=restricted",
        "claim medsweep-results: --set claim.create=true",
        "claim models:",
        f"kubectl -n {empty} create secret generic medsweep-hf --from-file=token=",
        f"kubectl -n {empty} create secret generic medsweep-api-key --from-file=api-key=",
        f"kubectl -n {empty} create secret generic store --from-env-file=",
        f"kubectl -n {empty} create secret docker-registry registry",
        "account medsweep-job",
    ):
        assert line in missing
    assert "lacks" not in install(server, "bench", empty, *values, "preflight=false")


def play_kubectl(api: Api, line: str) -> None:
    """Do what a line of the docs does; kubectl itself would send protobuf."""
    if match := re.fullmatch(r"kubectl create namespace (\S+)", line):
        metadata: Object = {"name": match[1]}
        api.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    elif match := re.fullmatch(r"kubectl label namespace (\S+) (\S+)=(\S+)", line):
        metadata = {"name": match[1], "labels": {match[2]: match[3]}}
        api.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    else:
        match = re.fullmatch(r"kubectl -n (\S+) create secret generic (\S+) --from-file=.*", line)
        assert match is not None, line
        metadata = {"name": match[2]}
        api.create(SECRETS, match[1], {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})


def test_the_first_commands_of_the_docs_run_in_an_empty_cluster(server: Api) -> None:
    text = (ROOT / "docs" / "helm.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(kubectl create namespace .*?)```", text, flags=re.DOTALL)
    *before, install, test = block.replace("\\\n", " ").splitlines()
    for line in before:
        play_kubectl(server, line)
    program, *words = shlex.split(install)
    command = [tool(program), *words, "--dry-run=server", "--disable-openapi-validation"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "lacks" not in notes
    assert "get rayjob bench-bm-1xa100-2cpu-" in notes
    assert test in notes
