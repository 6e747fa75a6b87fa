"""The local cluster: one node per profile, started once; nothing is left of it afterwards.

Nobody without its token can use it, and its workers hold no credentials.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from medsweep.cluster.isolation import environment
from medsweep.cluster.local import ENVIRONMENT, LocalCluster
from medsweep.hardware.catalog import PROFILES

pytestmark = pytest.mark.slow

LABEL = "medsweep.io/profile"

SECRETS = {"HF_TOKEN": "hf_secret", "MEDSWEEP_API_KEY": "k-1", "AWS_SECRET_ACCESS_KEY": "a-1"}

ATTACK = """
import os, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
task = ray.remote(lambda: sorted(os.environ)).options(num_cpus=0)
print("RAN A TASK:", *ray.get(task.remote(), timeout=200))
"""


def attack(address: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a task in a cluster from a process of its own, which knows the cluster's address."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Without it, it would not even try the loopback address.
    theirs |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    return subprocess.run(
        [sys.executable, "-c", ATTACK, address],
        env=theirs | variables,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def nodes() -> dict[str, str]:
    """Id by name of the hardware profile."""
    import ray

    found = [(node["Labels"].get(LABEL), node) for node in ray.nodes() if node["Alive"]]
    return {name: node["NodeID"] for name, node in found if name}


def variables() -> dict[str, str | None]:
    """What the cluster sets; Ray sets further variables of its own on connecting."""
    names = (
        *ENVIRONMENT,
        "RAY_TMPDIR",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
        "RAY_AUTH_TOKEN_PATH",
    )
    return {name: os.environ.get(name) for name in names}


def newest_raylet() -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    found = [child for child in children if child.name() == "raylet"]
    return max(found, key=psutil.Process.create_time)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A private cluster that runs in an environment with credentials, kept when it is left."""
    # Ray notices in two seconds that a node has died; by default it takes fifteen.
    health = {"RAY_health_check_initial_delay_ms": "300", "RAY_health_check_period_ms": "300"}
    before, handler = variables(), signal.getsignal(signal.SIGTERM)
    with environment(SECRETS | health), ExitStack() as stack:
        with LocalCluster(kept_by=stack) as cluster:
            cluster.ensure_nodes([PROFILES["1xv100-1cpu"]])
        assert os.environ.items() >= SECRETS.items()  # this process keeps them
        yield cluster
    assert variables() == before
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.fixture
def address(cluster: LocalCluster) -> str:
    import ray

    address: str = ray.get_runtime_context().gcs_address
    return address


def test_a_foreign_process_cannot_run_a_task(address: str) -> None:
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    # It tries twice, a second apart, and not twenty times.
    short = {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    with ThreadPoolExecutor() as together:
        attacks = [together.submit(attack, address, **short, **each) for each in ({}, wrong)]
    for attacked in (each.result() for each in attacks):
        assert "RAN A TASK" not in attacked.stdout
        assert attacked.returncode != 0
        assert "nauthenticated" in attacked.stderr or "AuthenticationError" in attacked.stderr


def test_a_process_with_the_token_can_and_finds_no_credentials(address: str) -> None:
    path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    allowed = attack(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(path))
    assert "RAN A TASK" in allowed.stdout, allowed.stderr
    assert "PATH" in allowed.stdout.split()
    assert not SECRETS.keys() & set(allowed.stdout.split())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_cluster_listens_on_loopback_and_shows_its_token_nowhere(address: str) -> None:
    path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    token = path.read_text()
    processes = psutil.Process().children(recursive=True)
    listening = []
    for process in processes:
        # A process may end meanwhile.
        with contextlib.suppress(psutil.Error):
            shown = [*process.cmdline(), *process.environ().values()]
            assert not any(token in each for each in shown)
            assert not set(SECRETS.values()) & set(shown)
            listening += [
                connection.laddr.ip.removeprefix("::ffff:")
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    assert len(listening) > 3
    assert set(listening) == {"127.0.0.1"}
    logs = [file for file in path.parent.rglob("*") if file.is_file() and file != path]
    assert len(logs) > 3
    assert not any(token.encode() in file.read_bytes() for file in logs)


def test_a_kept_cluster_is_the_same_when_it_is_entered_again(cluster: LocalCluster) -> None:
    before, folder = nodes(), os.environ["RAY_TMPDIR"]
    assert set(before) == {"1xv100-1cpu"}
    with cluster as again:
        again.ensure_nodes([PROFILES["1xv100-1cpu"]])
        assert nodes() == before
    assert nodes() == before
    assert os.environ["RAY_TMPDIR"] == folder


def test_a_node_stays_while_it_is_needed_and_lives(
    cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    v100, a100 = PROFILES["1xv100-1cpu"], PROFILES["1xa100-1cpu"]
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
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert "SIGTERM" not in capfd.readouterr().err  # which Ray's compiled part would write
    assert set(first) == {"1xv100-1cpu"}
    assert both == {**first, "1xa100-1cpu": both["1xa100-1cpu"]}
    assert last == {"1xa100-1cpu": both["1xa100-1cpu"]}
    assert set(anew) == {"1xa100-1cpu"}
    assert anew != last
