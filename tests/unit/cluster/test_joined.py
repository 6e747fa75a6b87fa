from __future__ import annotations

import sys
from contextlib import nullcontext
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.cluster.joined import JoinedCluster
from medsweep.errors import EnvironmentFault
from medsweep.hardware.catalog import PROFILES

PROFILE = PROFILES["1xv100-1cpu"]


def node(alive: bool = True, **labels: str) -> dict[str, Any]:
    return {"Alive": alive, "Labels": {**PROFILE.labels, "ray.io/node-id": "n", **labels}}


@pytest.mark.parametrize("there", [[], [node(alive=False)], [node(**{"medsweep.io/gpu": "a100"})]])
def test_a_missing_node_is_reported(
    there: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: there)
    with pytest.raises(EnvironmentFault, match="no Ray node for 1xv100-1cpu after"):
        JoinedCluster(node_timeout_s=-1).ensure_nodes([PROFILE])


def test_a_node_with_the_profile_s_labels_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: [node()])
    JoinedCluster(node_timeout_s=-1).ensure_nodes([PROFILE])


def test_without_a_ray_cluster_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def nobody(**_: object) -> None:
        raise ConnectionError("could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(EnvironmentFault, match="no Ray cluster runs here"), JoinedCluster():
        pass


@pytest.mark.parametrize("fault", [None, RuntimeError("no controller")])
def test_of_what_is_printed_at_the_end_only_the_controller_s_end_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: Exception | None
) -> None:
    import ray

    def shutdown() -> None:
        # As Ray 2.60 prints it.
        print(
            "\x1b[33m(raylet)\x1b[0m Task ServeController.graceful_shutdown failed. There are "
            "infinite retries remaining, so the task will be retried. Error: The actor is dead "
            "because it was killed by `ray.kill`."
        )
        print("(raylet) a worker died: out of memory")
        thread = Thread(target=print, args=("of another thread",))
        thread.start()
        thread.join()
        if fault is not None:
            raise fault

    serve = SimpleNamespace(shutdown=shutdown)
    monkeypatch.setitem(sys.modules, "ray.serve", serve)
    monkeypatch.setattr(ray, "serve", serve, raising=False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with nullcontext() if fault is None else pytest.raises(RuntimeError), JoinedCluster():
        pass
    assert capsys.readouterr().out == "(raylet) a worker died: out of memory\nof another thread\n"
