"""Results from a claim, read by a pod that is not there longer than that takes."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.check import object_faults
from apiserver.definitions import crd_documents, installed
from apiserver.sandbox import Sandbox, commands_on, sandbox
from apiserver.server import ApiServer, Failure
from medsweep.errors import EnvironmentFault
from medsweep.k8s.client import connect
from medsweep.k8s.fetch import fetch_cells, fetch_pod
from medsweep.k8s.resources import PODS
from medsweep.k8s.settings import ClusterSettings
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
def archives() -> list[bytes]:
    """What commands in pods have written."""
    return []


@pytest.fixture
def server(
    claim: Path, archives: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    """An API server whose pods run, as far as commands in them go."""
    run = commands_on(claim)

    def execute(command: list[str]) -> bytes:
        archives.append(run(command))
        return archives[-1]

    with ApiServer(object_faults, execute) as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path / "kubeconfig")))
        yield running


@pytest.fixture
def pods_run(server: ApiServer) -> Iterator[Sandbox]:
    """A namespace of that server."""
    api = connect()
    with installed(api, crd_documents(schemas=False)), sandbox(api) as namespace:
        yield namespace


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without a pause."""
    monkeypatch.setattr("medsweep.k8s.fetch._RETRY_PAUSE_S", 0.0)


def kubelet(
    cluster: Sandbox, *statuses: dict[str, object], watched: ApiServer | None = None
) -> threading.Thread:
    """Give the next pod one status after another, in a thread.

    Args:
        cluster: where the pod is.
        statuses: of the pod.
        watched: wait until the client watches the pod on this server, so that it sees every status.
    """
    watch = Watch(cluster.api, PODS, cluster.namespace, "medsweep.io/role=fetch", pause_s=0)
    watch.objects()

    def act() -> None:
        name = next(watch.changes()).name
        while watched is not None and not any(
            verb == "watch" and "sweep%3Dtrial" in path for verb, path in watched.requests
        ):
            time.sleep(0.01)
        for status in statuses:
            cluster.operator.status(PODS, name, status)
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


def test_only_complete_cells_that_are_not_here_yet_are_read(
    pods_run: Sandbox, archives: list[bytes], claim: Path, tmp_path: Path
) -> None:
    for complete in ("done", "begun"):
        cell = claim / "trial" / "cells" / complete
        if not CellFolder(cell).done:
            CellFolder(cell).finish("ok", None, [{"cell": complete}])
        playing = kubelet(pods_run, {"phase": "Running"})
        assert fetch(pods_run, tmp_path / "here") == 1
        playing.join()
        with tarfile.open(fileobj=io.BytesIO(archives[-1])) as archive:
            files = {f"cells/{complete}/{path.name}" for path in cell.iterdir()}
            assert set(archive.getnames()) == {f"cells/{complete}", *files}
    assert len(archives) == 2


def test_many_cells_are_named_a_hundred_at_a_time(
    pods_run: Sandbox,
    archives: list[bytes],
    claim: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("medsweep.k8s.fetch._NAMED_AT_ONCE", 2)
    keys = ["done", *(f"{number}" for number in range(5))]
    for key in keys[1:]:
        cell = claim / "trial" / "cells" / key
        cell.mkdir()
        CellFolder(cell).finish("ok", None, [{"cell": key}])
    commands = []
    # First all in one command, since none is here; then five of six, two at a time.
    for expected in (6, 5):
        here = len(archives)
        playing = kubelet(pods_run, {"phase": "Running"})
        fetched = fetch_cells(
            lambda: pods_run.api, pods_run.settings, "trial", keys, tmp_path / "here"
        )
        playing.join()
        assert fetched == expected
        commands.append(len(archives) - here)
        for key in keys[1:]:
            shutil.rmtree(tmp_path / "here" / "cells" / key)
    assert commands == [1, 3]


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


def unschedulable(message: str) -> dict[str, object]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"phase": "Pending", "conditions": [{**condition, "message": message}]}


def test_a_pod_that_cannot_start_says_why_at_once(pods_run: Sandbox, tmp_path: Path) -> None:
    message = "persistentvolumeclaim medsweep-results not found"
    playing = kubelet(pods_run, unschedulable(message))
    with pytest.raises(EnvironmentFault, match=f"does not start: .*{message}"):
        fetch(pods_run, tmp_path / "here")
    playing.join()
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


def test_a_pod_waits_for_a_node_and_says_so(
    pods_run: Sandbox, server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pool that scales from zero says that it cannot schedule a pod, and then can."""
    message = "0/4 nodes are available: 4 Insufficient cpu."
    runs = {"phase": "Running", "conditions": []}
    playing = kubelet(pods_run, unschedulable(message), runs, watched=server)
    assert fetch(pods_run, tmp_path / "here") == 1
    playing.join()
    line = capsys.readouterr().err
    assert "waiting up to 600 s for the pod that reads the claim" in line
    assert message in line


def test_the_wait_for_a_node_has_a_limit(
    pods_run: Sandbox, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(value: dict[str, Any]) -> None:
        if value["kind"] == "Pod":
            value["status"] = unschedulable("0/4 nodes are available")

    server.store.webhooks.append(no_room)
    monkeypatch.setattr("medsweep.k8s.fetch.START_TIMEOUT_S", 0.0)
    with pytest.raises(EnvironmentFault, match=r"does not start: after 0 s.*0/4 nodes"):
        fetch(pods_run, tmp_path / "here")
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


BROKEN = {
    "no outcome": None,
    "a container that is gone": {
        "status": "Failure",
        "reason": "InternalError",
        "message": "error dialing backend: EOF",
        "details": {"causes": [{"message": "error dialing backend: EOF"}]},
    },
}


@pytest.mark.parametrize("outcome", BROKEN)
def test_a_command_without_an_exit_code_is_tried_again(
    outcome: str, pods_run: Sandbox, server: ApiServer, tmp_path: Path, at_once: None
) -> None:
    server.outcomes = [BROKEN[outcome]] * 2
    playing = kubelet(pods_run, {"phase": "Running"})
    assert fetch(pods_run, tmp_path / "here") == 1
    playing.join()
    assert server.outcomes == []


def test_a_connection_that_always_breaks_is_a_sentence(
    pods_run: Sandbox, server: ApiServer, tmp_path: Path, at_once: None
) -> None:
    server.outcomes = [None] * 3
    playing = kubelet(pods_run, {"phase": "Running"})
    with pytest.raises(EnvironmentFault, match=r"broke 3 times .*no exit code.*run the same") as no:
        fetch(pods_run, tmp_path / "here")
    playing.join()
    assert no.value.exit_code == 4
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


def test_a_handshake_that_fails_is_tried_again_and_a_refusal_is_not(
    pods_run: Sandbox, server: ApiServer, tmp_path: Path, at_once: None
) -> None:
    server.failures = [Failure(500, 2, "get")]
    playing = kubelet(pods_run, {"phase": "Running"})
    assert fetch(pods_run, tmp_path / "here") == 1
    playing.join()
    server.failures = [Failure(403, 1, "get")]
    playing = kubelet(pods_run, {"phase": "Running"})
    with pytest.raises(EnvironmentFault, match=r"not allowed \(.*403.*medsweep-fetch"):
        fetch(pods_run, tmp_path / "elsewhere")
    playing.join()


def test_a_command_that_fails_is_not_tried_again(
    pods_run: Sandbox, server: ApiServer, tmp_path: Path
) -> None:
    cause = {"reason": "ExitCode", "message": "2"}
    server.outcomes = [{"status": "Failure", "details": {"causes": [cause]}}]
    playing = kubelet(pods_run, {"phase": "Running"})
    with pytest.raises(EnvironmentFault, match="the claim of trial cannot be read"):
        fetch(pods_run, tmp_path / "here")
    playing.join()


def test_delete_finds_the_pod_of_a_fetch_that_was_killed(pods_run: Sandbox) -> None:
    from medsweep.k8s.fetch import fetch_pod

    pods_run.api.create(PODS, pods_run.namespace, fetch_pod(pods_run.settings, "trial"))
    (removed,) = remove(pods_run.api, pods_run.namespace, "trial")
    assert removed.startswith("pods/medsweep-fetch-")
    assert pods_run.api.objects(PODS, pods_run.namespace) == []


def test_the_pod_ends_at_once_and_by_itself_in_any_case() -> None:
    spec = fetch_pod(ClusterSettings(), "trial")["spec"]
    assert spec["terminationGracePeriodSeconds"] == 0
    assert spec["activeDeadlineSeconds"] >= int(spec["containers"][0]["command"][-1]) > 0
