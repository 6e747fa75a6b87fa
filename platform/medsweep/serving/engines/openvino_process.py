"""The parent's end of the process that OpenVINO's pipeline runs in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medsweep.errors import StageError

CHILD = "medsweep.serving.engines.openvino_child"
_GRACE_S = 5.0
_STDERR_LINES = 5


class OpenvinoProcess:
    """One `python -m medsweep.serving.engines.openvino_child`.

    Args:
        folder: of the model in OpenVINO's format.
        rows: rows that are answered together.
        threads: to compute with; None leaves it to OpenVINO.

    Attributes:
        cores: those that it may run on, as its parent may when it starts.
        link: readable when it has something to say.
    """

    def __init__(self, folder: Path, rows: int, threads: int | None) -> None:
        self.cores = cores_here()
        ours, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 closed in `close`
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", CHILD, json.dumps([str(folder), rows, threads])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                process_group=0,  # Ctrl-C is the parent's to answer: it lets answers end first
            )
        self.link = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, commands: list[list[Any]]) -> None:
        """Have it do something between two steps.

        Args:
            commands: name of a method of `Child`, then its arguments.

        Raises:
            StageError: it has died.
        """
        try:
            self.link.send_bytes(json.dumps(commands).encode())
        except OSError:
            raise self._died() from None

    def receive(self) -> dict[str, Any]:
        """Wait for what it says next.

        Raises:
            StageError: it has died.
        """
        try:
            said: dict[str, Any] = json.loads(self.link.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        return said

    def close(self) -> None:
        """End it at once: there is nothing that it would have to put away."""
        self.link.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()

    def _died(self) -> StageError:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()[-_STDERR_LINES:]
        said = "\n".join(lines) or "it wrote nothing on stderr"
        return StageError(f"OpenVINO's process ended with exit code {code}:\n{said}")


def cores_here() -> frozenset[int]:
    """Return the cores that this thread may run on; empty where the system cannot pin."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset()
