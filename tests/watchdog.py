"""Ends the processes that a test run leaves behind, however the run ends.

As a program (`python tests/watchdog.py MARKER`) it waits until its standard input is closed, which
the kernel does when the test run is killed, and then kills every process with that environment
variable, or with the run's limit of message queues. Children inherit both, also those in a session
of their own. Those of Ray and of vLLM's engine core write a title over their environment, but
nothing uses message queues, so their limit stays.
"""

import os
import resource
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
    _, most = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (_limit(MARKER), most))
    return watchdog


def _limit(name: str) -> int:
    """Return a run's limit of message queues, in bytes: below the system's, and its own."""
    return 1 + _run(name) % 800_000


def _run(name: str) -> int:
    """Return the process id of the run that has a marker."""
    return int(name.split("_")[-2])


def marked(name: str) -> Iterator[int]:
    """Yield the ids of the processes that the run with this marker started and that still run."""
    limit = f"Max msgqueue size {_limit(name)} "
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
            limits = " ".join((process / "limits").read_text().split())
            inherited = f"{name}=1".encode() in variables or limit in limits
            if inherited and SPARED not in command and int(process.name) != _run(name):
                yield int(process.name)


def end_all(name: str) -> list[int]:
    """Kill the processes that a run started; return those that still run."""
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
