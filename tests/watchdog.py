"""Ends the processes that a test run leaves behind, however the run ends.

As a program (`python tests/watchdog.py MARKER`) it waits until its standard input is closed, which
the kernel does when the test run is killed, and then kills every process with that environment
variable. Children inherit it, also those in a session of their own. It misses processes that write
a title over their environment, as Ray's and those of vLLM's engine core do: their parents have to
end them.
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


MARKER = f"MEDSWEEP_TEST_RUN_{os.getpid()}_{time.time_ns()}"
"""Environment variable of the children of this process; another process may get its id later."""

TIMEOUT_S = 30.0
"""Longest time that it kills; a process that the kernel holds ends later, or never."""


def start() -> "subprocess.Popen[bytes]":
    """Watch over this process, and mark the children that it starts from now on.

    Returns:
        The watchdog; it acts as soon as its standard input is closed.
    """
    watchdog = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, MARKER],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    os.environ[MARKER] = "1"
    return watchdog


def marked(name: str) -> Iterator[int]:
    """Yield the ids of the processes that were started with the variable and still run."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
            if f"{name}=1".encode() in variables and SPARED not in command:
                yield int(process.name)


def end_all(name: str) -> list[int]:
    """Kill the processes that were started with the variable; return those that still run."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while left := [*marked(name)]:  # one that is killed may just have started another
        if time.monotonic() > deadline_s:
            break
        for pid in left:
            with suppress(OSError):
                os.kill(pid, SIGKILL)
        time.sleep(0.02)
    return left


if __name__ == "__main__":
    sys.stdin.read()
    if remaining := end_all(sys.argv[1]):
        sys.exit(f"{TIMEOUT_S:.0f} s after the tests ended, their processes {remaining} still run")
