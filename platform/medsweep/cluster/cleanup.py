"""Ends the remaining processes of a private Ray cluster: Ray's agents outlive a killed driver.

As a program (`python -m medsweep.cluster.cleanup FOLDER`) it waits until its standard input is
closed, which the kernel does when the parent is killed, and then cleans up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from medsweep.errors import EnvironmentFault
from medsweep.processes import start_process

GRACE_S = 2.0
POLL_S = 0.02
"""How long processes may take to end before they are killed, and how often they are looked at."""


def watch(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that cleans up after this one, however this one ends.

    Args:
        folder: of the cluster; every process of the cluster has files open in it.

    Returns:
        The process; it cleans up as soon as its standard input is closed.

    Raises:
        EnvironmentFault: the system does not start it.
    """
    return start_process(
        "the clean-up of the cluster",
        [sys.executable, "-m", "medsweep.cluster.cleanup", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        fault=EnvironmentFault,
        start_new_session=True,  # Ctrl-C must reach the run alone, which then starts the clean-up
    )


def members(folder: Path) -> list[psutil.Process]:
    """Return the processes that have a file in the folder open, or the folder in their arguments.

    Ray changes the titles of its processes, so that their arguments do not always show the cluster
    that they belong to; their open log files do.
    """
    inside = f"{folder}/"
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            named = any(inside in argument for argument in process.cmdline())
            if named or any(file.path.startswith(inside) for file in process.open_files()):
                processes.append(process)
    return processes


def clean_up(folder: Path, spared: int) -> None:
    """End the processes of a cluster and remove its folder.

    Args:
        folder: of the cluster.
        spared: id of the process that started it, which has logs open there too and keeps running.
    """
    left = [process for process in members(folder) if process.pid != spared]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline_s = time.monotonic() + GRACE_S
    while (alive := [process for process in left if _runs(process)]) and (
        time.monotonic() < deadline_s
    ):
        time.sleep(POLL_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _runs(process: psutil.Process) -> bool:
    """Return whether a process has not ended, though its parent may not have noticed."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


if __name__ == "__main__":
    starter = os.getppid()
    sys.stdin.read()
    clean_up(Path(sys.argv[1]), spared=starter)
