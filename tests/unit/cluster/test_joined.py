from __future__ import annotations

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
