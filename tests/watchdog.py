"""Ends the processes that a test run leaves behind, however the run ends.

As a program (`python tests/watchdog.py MARKER`) it waits until its standard input is closed, which
the kernel does when the test run is killed, and then kills every process with that environment
variable. Children inherit it, also those in a session of their own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

SPARED = b"medsweep.cluster.cleanup"
"""It ends by itself when its cluster has ended, and then removes the cluster's folder."""


def marker(pid: int) -> str:
    """Return the environment variable that the children of a process have."""
    return f"MEDSWEEP_TEST_RUN_{pid}"


def start() -> "subprocess.Popen[bytes]":
    """Watch over this process, and mark the children that it starts from now on.

    Returns:
        The watchdog; it acts as soon as its standard input is closed.
    """
    name = marker(os.getpid())
    watchdog = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, name], stdin=subprocess.PIPE, start_new_session=True
    )
    os.environ[name] = "1"
    return watchdog


def marked(name: str) -> Iterator[int]:
    """Yield the ids of the processes that were started with the variable and still run."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
            if f"{name}=1".encode() in variables and SPARED not in command:
                yield int(process.name)


if __name__ == "__main__":
    sys.stdin.read()
    while left := list(marked(sys.argv[1])):  # one that is killed may just have started another
        for pid in left:
            with suppress(OSError):
                os.kill(pid, SIGKILL)
        time.sleep(0.02)
