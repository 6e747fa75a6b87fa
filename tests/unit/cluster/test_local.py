"""The local cluster: one node per profile, started once; nothing is left of it afterwards."""

import os
import signal

import psutil
import pytest

from medsweep.cluster.local import ENVIRONMENT, LocalCluster
from medsweep.hardware.catalog import PROFILES

pytestmark = pytest.mark.slow

LABEL = "medsweep.io/profile"


def nodes() -> dict[str, str]:
    """Id by name of the hardware profile."""
    import ray

    found = [(node["Labels"].get(LABEL), node) for node in ray.nodes() if node["Alive"]]
    return {name: node["NodeID"] for name, node in found if name}


def variables() -> dict[str, str | None]:
    """What the cluster sets; Ray sets further variables of its own on connecting."""
    names = (*ENVIRONMENT, "RAY_TMPDIR", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER")
    return {name: os.environ.get(name) for name in names}


def newest_raylet() -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    found = [child for child in children if child.name() == "raylet"]
    return max(found, key=psutil.Process.create_time)


def test_a_node_stays_while_it_is_needed_and_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray notices in two seconds that a node has died; by default it takes fifteen.
    monkeypatch.setenv("RAY_health_check_initial_delay_ms", "300")
    monkeypatch.setenv("RAY_health_check_period_ms", "300")
    environment, handler = variables(), signal.getsignal(signal.SIGTERM)
    v100, a100 = PROFILES["1xv100-1cpu"], PROFILES["1xa100-1cpu"]
    with LocalCluster() as cluster:
        assert os.environ["RAY_TMPDIR"].startswith("/tmp/ms-")
        assert os.environ.items() >= ENVIRONMENT.items()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        assert cluster.call_on_node(v100, os.getpid) == os.getpid()
        cluster.ensure_nodes([v100])
        first = nodes()
        cluster.ensure_nodes([a100, v100, v100])
        both = nodes()
        cluster.ensure_nodes([a100])
        last = nodes()
        raylet = newest_raylet()
        raylet.kill()
        raylet.wait()
        while nodes():
            pass
        cluster.ensure_nodes([a100])
        anew = nodes()
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    assert set(first) == {"1xv100-1cpu"}
    assert both == {**first, "1xa100-1cpu": both["1xa100-1cpu"]}
    assert last == {"1xa100-1cpu": both["1xa100-1cpu"]}
    assert set(anew) == {"1xa100-1cpu"}
    assert anew != last
    assert variables() == environment
    assert signal.getsignal(signal.SIGTERM) == handler
