import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from medsweep.cluster import cleanup
from medsweep.cluster.cleanup import clean_up, members, watch
from medsweep.errors import EnvironmentFault

# Nothing in its arguments or environment says where it belongs: only the file that it writes.
DAEMON = """
import os, sys
log = open(sys.stdin.readline().strip(), "w")
print("open", flush=True)
sys.stdin.read()
"""


def start_daemon(log: Path, before: str = "") -> subprocess.Popen[str]:
    daemon = subprocess.Popen(
        [sys.executable, "-c", before + DAEMON],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    daemon.stdin.write(f"{log}\n")
    daemon.stdin.flush()
    assert daemon.stdout.readline() == "open\n"
    return daemon


def end(daemon: subprocess.Popen[str]) -> None:
    daemon.kill()
    daemon.communicate()


def test_a_clean_up_that_does_not_start_is_a_fault_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup.sys, "executable", "/no/such/python")
    with pytest.raises(EnvironmentFault, match="clean-up of the cluster does not start"):
        watch(tmp_path)


def test_members_are_known_by_the_files_they_have_open(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine-too").mkdir()  # another cluster's, whose name begins alike
    mine, other = start_daemon(tmp_path / "mine/log"), start_daemon(tmp_path / "mine-too/log")
    try:
        assert [process.pid for process in members(tmp_path / "mine")] == [mine.pid]
    finally:
        end(mine)
        end(other)


def test_members_end_and_the_folder_goes_but_the_one_who_started_it_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    daemon, starter = start_daemon(folder / "log"), start_daemon(folder / "driver.log")
    try:
        clean_up(folder, spared=starter.pid)
        daemon.wait(timeout=60)
        assert starter.poll() is None
        assert not folder.exists()
    finally:
        end(daemon)
        end(starter)


@pytest.mark.timeout(200)
def test_those_that_end_are_not_waited_for_and_the_others_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process, their parent, does not reap them meanwhile."""
    monkeypatch.setattr(cleanup, "GRACE_S", 1000.0)
    folder = tmp_path / "cluster"
    folder.mkdir()
    daemon = start_daemon(folder / "log")
    clean_up(folder, spared=0)
    daemon.wait(timeout=60)
    daemon.communicate()
    # One that does not end when it is asked to.
    monkeypatch.setattr(cleanup, "GRACE_S", 0.1)
    folder.mkdir()
    stubborn = start_daemon(folder / "log", "import signal; signal.signal(15, signal.SIG_IGN)")
    clean_up(folder, spared=0)
    assert stubborn.wait(timeout=60) == -9
    stubborn.communicate()


def test_watching_cleans_up_when_the_watched_process_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    daemon = start_daemon(folder / "log")
    watcher = watch(folder)
    assert psutil.pid_exists(daemon.pid)
    watcher.communicate(timeout=60)  # closes the pipe, as the kernel does for a killed process
    daemon.wait(timeout=60)
    daemon.communicate()
    assert not folder.exists()
