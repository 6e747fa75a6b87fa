"""Results from a claim, read by a pod that is not there longer than that takes."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.sandbox import Sandbox, sandbox
from apiserver.server import ApiServer
from medsweep.errors import EnvironmentFault
from medsweep.k8s.client import connect
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.resources import PODS
from medsweep.k8s.sweeps import remove
from medsweep.k8s.watch import Watch
from medsweep.results.cells import CellFolder


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """What is on the claim: one cell done, one being written."""
    cells = tmp_path / "claim" / "trial" / "cells"
    for key in ("done", "begun"):
        (cells / key).mkdir(parents=True)
        (cells / key / "requests.parquet").write_bytes(b"r" * 100_000)
    CellFolder(cells / "done").finish("ok", None, [{"cell": "done"}])
    return tmp_path / "claim"


@pytest.fixture
def pods_run(claim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """An API server whose pods run, as far as commands in them go."""

    def execute(command: list[str]) -> bytes:
        here = [part.replace("/results", str(claim)) for part in command]
        return subprocess.run(here, check=True, capture_output=True).stdout

    with ApiServer(object_faults, execute) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        api = connect()
        with installed(api, crd_documents(schemas=False)), sandbox(api) as found:
            yield found


def kubelet(cluster: Sandbox, status: dict[str, object]) -> threading.Thread:
    """Give the next pod a status, in a thread."""
    watch = Watch(cluster.api, PODS, cluster.namespace, "medsweep.io/role=fetch", pause_s=0)
    watch.objects()

    def act() -> None:
        cluster.operator.status(PODS, next(watch.changes()).name, status)
        watch.close()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def fetch(cluster: Sandbox, folder: Path) -> int:
    return fetch_cells(
        lambda: cluster.api, cluster.settings, "trial", ["done", "begun", "none"], folder
    )


def test_whole_cells_come_and_the_pod_goes(pods_run: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    playing = kubelet(pods_run, {"phase": "Running"})
    assert fetch(pods_run, folder) == 1
    playing.join()
    assert [path.name for path in (folder / "cells").iterdir()] == ["done"]
    assert CellFolder(folder / "cells" / "done").faults() == []
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


def test_a_cell_that_is_not_what_was_written_is_refused(
    pods_run: Sandbox, claim: Path, tmp_path: Path
) -> None:
    (claim / "trial" / "cells" / "done" / "requests.parquet").write_bytes(b"other")
    playing = kubelet(pods_run, {"phase": "Running"})
    with pytest.raises(EnvironmentFault, match=r"cell done: requests.parquet: not what the job"):
        fetch(pods_run, tmp_path / "here")
    playing.join()
    assert not (tmp_path / "here" / "cells").exists()
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


def test_a_pod_that_does_not_start_says_why(pods_run: Sandbox, tmp_path: Path) -> None:
    message = "persistentvolumeclaim medsweep-results not found"
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    playing = kubelet(pods_run, {"conditions": [{**condition, "message": message}]})
    with pytest.raises(EnvironmentFault, match=f"does not start: .*{message}"):
        fetch(pods_run, tmp_path / "here")
    playing.join()
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


def test_delete_finds_the_pod_of_a_fetch_that_was_killed(pods_run: Sandbox) -> None:
    from medsweep.k8s.fetch import fetch_pod

    pods_run.api.create(PODS, pods_run.namespace, fetch_pod(pods_run.settings, "trial"))
    (removed,) = remove(pods_run.api, pods_run.namespace, "trial")
    assert removed.startswith("pods/medsweep-fetch-")
    assert pods_run.api.objects(PODS, pods_run.namespace) == []
