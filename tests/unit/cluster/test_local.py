"""The local cluster's nodes: one a profile, started once."""

import psutil
import pytest

from medsweep.cluster.local import LocalCluster
from medsweep.hardware.catalog import PROFILES

pytestmark = pytest.mark.slow

LABEL = "medsweep.io/profile"


def nodes() -> dict[str, str]:
    """Id by name of the hardware profile."""
    import ray

    found = [(node["Labels"].get(LABEL), node) for node in ray.nodes() if node["Alive"]]
    return {name: node["NodeID"] for name, node in found if name}


def newest_raylet() -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    found = [child for child in children if child.name() == "raylet"]
    return max(found, key=psutil.Process.create_time)


def test_a_node_stays_while_it_is_wanted_and_lives() -> None:
    v100, a100 = PROFILES["1xv100-1cpu"], PROFILES["1xa100-1cpu"]
    with LocalCluster() as cluster:
        cluster.bring_nodes([v100])
        first = nodes()
        cluster.bring_nodes([a100, v100, v100])
        both = nodes()
        cluster.bring_nodes([a100])
        last = nodes()
        raylet = newest_raylet()
        raylet.kill()
        raylet.wait()
        while nodes():
            pass
        cluster.bring_nodes([a100])
        anew = nodes()
    assert set(first) == {"1xv100-1cpu"}
    assert both == {**first, "1xa100-1cpu": both["1xa100-1cpu"]}
    assert last == {"1xa100-1cpu": both["1xa100-1cpu"]}
    assert set(anew) == {"1xa100-1cpu"}
    assert anew != last
