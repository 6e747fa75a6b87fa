"""Each case runs against the API server in this process and, on demand, against a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.sandbox import Sandbox, sandbox
from apiserver.server import ApiServer
from medsweep.k8s.client import Api, connect


@pytest.fixture(scope="session")
def real() -> Iterator[Api]:
    """The API server that KUBECONFIG names, with the CRDs; they are megabytes, so once for all."""
    # Not for having a KUBECONFIG alone: these cases make nodes, and install CRDs.
    if not os.environ.get("MEDSWEEP_TEST_CLUSTER"):
        pytest.skip("only `make test-cluster` touches a real API server")
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no real API server: KUBECONFIG is not set")
    api = connect()
    with installed(api, crd_documents(schemas=True)):
        yield api


@pytest.fixture(params=["in-process", "real"])
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """A namespace of an API server, with nodes and the product's base."""
    if request.param == "real":
        with sandbox(request.getfixturevalue("real")) as namespace:
            yield namespace
        return
    with ApiServer(check=object_faults) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        api = connect()
        with installed(api, crd_documents(schemas=False)), sandbox(api) as namespace:
            yield namespace
