"""Starts the processes that MedSweep uses beside its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from medsweep.errors import MedSweepError, StageError


def start_process(
    name: str, command: Sequence[str], *, fault: type[MedSweepError] = StageError, **options: Any
) -> subprocess.Popen[Any]:
    """Start a process.

    Args:
        name: what it is, for the message.
        command: its command line.
        fault: class of the error.
        options: of `subprocess.Popen`.

    Raises:
        MedSweepError: the system does not start it (no memory, no process or file left, no such
            program); of the class `fault`.
    """
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        raise fault(f"{name} does not start: {command[0]}: {error.strerror}") from None
