"""The parent's side of the process that runs OpenVINO's pipeline."""

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
        folder: folder of the model in OpenVINO's format.
        rows: most rows in a batch.
        threads: CPU threads; None leaves the number to OpenVINO.

    Attributes:
        cores: cores that it may run on, inherited from its parent at the start.
        link: connection to the process; readable when a message has arrived.
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
                process_group=0,  # Ctrl-C reaches only the parent, which finishes answers first
            )
        self.link = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def send(self, commands: list[list[Any]]) -> None:
        """Send commands, which it executes between two steps.

        Args:
            commands: each the name of a method of `Child`, then its arguments.

        Raises:
            StageError: the process has died.
        """
        try:
            self.link.send_bytes(json.dumps(commands).encode())
        except OSError:
            raise self._died() from None

    def receive(self) -> dict[str, Any]:
        """Wait for its next message.

        Raises:
            StageError: the process has died.
        """
        try:
            message: dict[str, Any] = json.loads(self.link.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        return message

    def close(self) -> None:
        """Kill the process; it has nothing to save."""
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
        detail = "\n".join(lines) or "it wrote nothing on stderr"
        return StageError(f"OpenVINO's process ended with exit code {code}:\n{detail}")


def cores_here() -> frozenset[int]:
    """Return the cores that this thread may run on; empty where the system cannot pin."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset()
