"""Nobody without its token can use a private cluster, and its workers hold no credentials."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from medsweep.cluster.isolation import environment, isolated, secret_names, without_secrets
from medsweep.cluster.local import LocalCluster
from medsweep.hardware.catalog import PROFILES

SECRETS = {"HF_TOKEN": "hf_secret", "MEDSWEEP_API_KEY": "k-1", "AWS_SECRET_ACCESS_KEY": "a-1"}

ATTACK = """
import os, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
task = ray.remote(lambda: sorted(os.environ)).options(num_cpus=0)
print("RAN A TASK:", *ray.get(task.remote(), timeout=20))
"""


def attack(address: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a task in a cluster from a process of its own, which knows the cluster's address."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Without the first it would not even try the loopback address; with the others it tries twice,
    # a second apart, and not twenty times.
    theirs |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    theirs |= {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_NUM_REDIS_GET_RETRIES": "2"}
    return subprocess.run(
        [sys.executable, "-c", ATTACK, address],
        env=theirs | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Address of a private cluster that runs in an environment with credentials."""
    import ray

    with environment(SECRETS), LocalCluster() as cluster:
        cluster.ensure_nodes([PROFILES["1xv100-1cpu"]])
        assert os.environ.items() >= SECRETS.items()  # this process keeps them
        yield ray.get_runtime_context().gcs_address
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_a_process_is_as_before_after_a_cluster_that_failed(tmp_path: Path) -> None:
    from ray._private import ray_constants
    from ray._raylet import (  # type: ignore[attr-defined]  # compiled
        AuthenticationMode,
        get_authentication_mode,
    )

    before = (get_authentication_mode(), ray_constants.ENABLE_RAY_CLUSTER)
    with contextlib.suppress(ZeroDivisionError), isolated(tmp_path):
        assert get_authentication_mode() == AuthenticationMode.TOKEN
        assert not ray_constants.ENABLE_RAY_CLUSTER
        raise ZeroDivisionError
    assert (get_authentication_mode(), ray_constants.ENABLE_RAY_CLUSTER) == before


@pytest.mark.slow
def test_a_foreign_process_cannot_run_a_task(address: str) -> None:
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    with ThreadPoolExecutor() as together:
        attacks = [together.submit(attack, address, **each) for each in ({}, wrong)]
    for attacked in (each.result() for each in attacks):
        assert "RAN A TASK" not in attacked.stdout
        assert attacked.returncode != 0
        assert "nauthenticated" in attacked.stderr or "AuthenticationError" in attacked.stderr


@pytest.mark.slow
def test_a_process_with_the_token_can_and_finds_no_credentials(address: str) -> None:
    path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    allowed = attack(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(path))
    assert "RAN A TASK" in allowed.stdout, allowed.stderr
    assert "PATH" in allowed.stdout.split()
    assert not SECRETS.keys() & set(allowed.stdout.split())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
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


def test_names_of_credentials() -> None:
    names = {
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MEDSWEEP_API_KEY", "OPENAI_APIKEY", "DB_PASSWORD"),
        *("AWS_PROFILE", "AZURE_STORAGE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", "my_secret"),
    }
    kept = {"PATH", "TOKENIZERS_PARALLELISM", "RAY_AUTH_TOKEN_PATH", "KEYBOARD", "HF_HOME"}
    assert secret_names(names | kept) == names


def test_credentials_are_hidden_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with without_secrets():
        assert "HF_TOKEN" not in os.environ
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["HF_TOKEN"] == "hf_secret"
    assert "HF_HUB_OFFLINE" not in os.environ
