"""The parent's side of a process in which an engine computes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from medsweep.processes import start_process
from medsweep.serving.protocol import EngineDied

# A process whose connection has ended ends by itself, on a busy machine after some seconds. If it
# were killed before, its own exit code would be lost.
_GRACE_S = 30.0
_STDERR_LINES = 5


class ChildProcess:
    """A process that takes commands through a Unix socket, its standard input, and replies.

    It has a session of its own, so that Ctrl-C reaches only the parent, which finishes the answers
    first.

    Args:
        name: the engine's name, for messages.
        command: its command line.
        environment: its environment variables; None takes this process's.
        on_exit: called from a thread once it has ended.

    Raises:
        StageError: the system does not start it.

    Attributes:
        cores: cores that it may run on.
        link: connection to the process; readable when a message has arrived.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        on_exit: Callable[[ChildProcess], None],
    ) -> None:
        self._name, self.cores = name, cores_here()
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as opened:  # closed if the process cannot be started
            opened.enter_context(ours)
            self._stderr = opened.enter_context(tempfile.TemporaryFile())
            with theirs:
                self._process = start_process(
                    f"the process of engine {name}",
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    env=environment,
                    start_new_session=True,
                )
            opened.pop_all()
        self.link = Connection(ours.detach())

        def watch() -> None:
            self._process.wait()
            # Children that outlive it would keep the GPU's memory from the next process. Their
            # group keeps its number while one of them runs, whichever thread reaped the process.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            on_exit(self)

        threading.Thread(target=watch, name=f"{name} exit", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def end(self) -> str:
        """How it ended."""
        return f"the process of engine {self._name} ended with exit code {self._process.poll()}"

    def pin(self, cores: frozenset[int]) -> None:
        """Let every thread of it and of its children run on these cores alone."""
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            tree = [self.pid, *(each.pid for each in psutil.Process(self.pid).children(True))]
            for thread in (each for pid in tree for each in Path(f"/proc/{pid}/task").iterdir()):
                os.sched_setaffinity(int(thread.name), cores)
        self.cores = cores

    def send(self, commands: list[list[Any]]) -> None:
        """Send commands, which it executes between two steps.

        Args:
            commands: each the name of a method of its `Child`, then its arguments.

        Raises:
            EngineDied: the process has died.
        """
        try:
            self.link.send_bytes(json.dumps(commands).encode())
        except OSError:
            raise self.died() from None

    def receive(self) -> dict[str, Any]:
        """Wait for its next message.

        Raises:
            EngineDied: the process has died.
        """
        try:
            message: dict[str, Any] = json.loads(self.link.recv_bytes())
        except (EOFError, OSError):
            raise self.died() from None
        return message

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr; only for a process that had no request yet."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        lines = [line for line in lines if line.strip()][-_STDERR_LINES:]
        return "\n".join(lines) or "it wrote nothing on stderr"

    def kill(self) -> None:
        """Kill the process; a caller that waits for its message gets an error."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and its children; it has nothing to save."""
        self.link.close()
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._stderr.close()

    def died(self) -> EngineDied:
        """Return the error of the requests that it was computing; it has no text of a prompt."""
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return EngineDied(f"{self.end}, and another one is being started; send the request again")


def cores_here() -> frozenset[int]:
    """Return the cores that this thread may run on; empty where the system cannot pin."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset()
