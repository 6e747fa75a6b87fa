"""Each case runs against the API server in this process and, on demand, against a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver.ground import Ground, crd_documents, ground
from apiserver.server import ApiServer
from crds import faults
from medsweep.cluster.kubernetes.connect import connect


@pytest.fixture(params=["in-process", "real"])
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ground]:
    """A namespace of an API server, with nodes and the product's base."""
    if request.param == "in-process":
        with ApiServer(check=faults) as server:
            monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
            with ground(connect(), crd_documents(schemas=False)) as found:
                yield found
        return
    # Not for having a KUBECONFIG alone: these cases make nodes, and install CRDs.
    if not os.environ.get("MEDSWEEP_TEST_CLUSTER"):
        pytest.skip("only `make test-cluster` touches a real API server")
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no real API server: KUBECONFIG is not set")
    with ground(connect(), crd_documents(schemas=True)) as found:
        yield found
