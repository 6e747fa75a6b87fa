"""The local cluster's nodes: one a profile, started once."""

import pytest

from medsweep.cluster.local import LocalCluster
from medsweep.hardware.catalog import PROFILES

pytestmark = pytest.mark.slow

LABEL = "medsweep.io/profile"


def test_a_node_stays_while_it_is_asked_for_again_and_goes_when_it_is_not() -> None:
    import ray

    v100, a100 = PROFILES["1xv100-1cpu"], PROFILES["1xa100-1cpu"]

    def nodes() -> dict[str, str]:
        """Id by name of the hardware profile."""
        found = [(node["Labels"].get(LABEL), node) for node in ray.nodes() if node["Alive"]]
        return {name: node["NodeID"] for name, node in found if name}

    with LocalCluster() as cluster:
        with cluster.nodes([v100]):
            first = nodes()
        with cluster.nodes([a100, v100, v100]):
            both = nodes()
        with cluster.nodes([a100]):
            last = nodes()
    assert set(first) == {"1xv100-1cpu"}
    assert both == {**first, "1xa100-1cpu": both["1xa100-1cpu"]}
    assert last == {"1xa100-1cpu": both["1xa100-1cpu"]}
