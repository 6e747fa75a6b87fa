"""Ends what is left of a private Ray cluster: Ray's agents outlive a driver that was killed.

Run as a program (`python -m medsweep.cluster.cleanup FOLDER`), it waits until its standard input is
closed, which the kernel does for a process that is killed, and then cleans up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

GRACE_S = 2.0
"""How long processes have to end by themselves before they are killed."""


def watch(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that cleans up after this one, however this one ends.

    Args:
        folder: the cluster's own; every process of the cluster has files open below it.

    Returns:
        The process; it cleans up as soon as its standard input is closed.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "medsweep.cluster.cleanup", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the run, which then says when to clean up
    )


def members(folder: Path) -> list[psutil.Process]:
    """Return the processes that have a file below the folder open, or name it when called.

    Ray gives its processes titles of its own, so that neither their arguments nor their
    environment tell where they belong; their log files do.
    """
    inside = f"{folder}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            named = any(inside in argument for argument in process.cmdline())
            if named or any(file.path.startswith(inside) for file in process.open_files()):
                found.append(process)
    return found


def clean_up(folder: Path, spared: int) -> None:
    """End the processes of a cluster and remove its folder.

    Args:
        folder: the cluster's own.
        spared: id of the process that started it, which has logs open there too and goes on.
    """
    left = [process for process in members(folder) if process.pid != spared]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=GRACE_S)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    starter = os.getppid()
    sys.stdin.read()
    clean_up(Path(sys.argv[1]), spared=starter)
