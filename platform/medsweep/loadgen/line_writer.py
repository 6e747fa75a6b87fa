"""JSON lines to a file descriptor, written beside the event loop."""

from __future__ import annotations

import json
import os
import threading
from queue import SimpleQueue
from typing import Any


class LineWriter:
    """Writes messages from a thread, so that a slow reader never holds up the load.

    Args:
        descriptor: file descriptor to write to. `os.write` takes no lock, so a reader that has
            stopped reading does not hang the program's exit either.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def put(self, message: dict[str, Any]) -> None:
        """Queue one message; returns at once."""
        self._messages.put(message)

    def _write(self) -> None:
        while True:
            line = memoryview(json.dumps(self._messages.get()).encode() + b"\n")
            while line:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except BrokenPipeError:
                    return  # the reader is gone, and with it our stdin: the program is ending
