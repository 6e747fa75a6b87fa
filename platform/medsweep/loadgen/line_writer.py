"""JSON lines to a file descriptor, written beside the event loop."""

from __future__ import annotations

import json
import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import orjson

from medsweep.metrics.request_record import RequestRecord

# Lines are written together this often: every write wakes a thread, which then competes with the
# event loop for the interpreter.
_EVERY_S = 0.02


class LineWriter:
    """Writes messages from a thread, so that a slow reader never holds up the load.

    Args:
        descriptor: file descriptor to write to. `os.write` takes no lock, so a reader that has
            stopped reading does not hang the program's exit either.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def put(self, message: dict[str, Any]) -> None:
        """Queue one message; returns at once.

        Args:
            message: JSON values, and records of requests.
        """
        try:
            line = orjson.dumps(message)
        except TypeError:
            # Half of a surrogate pair, in the name of a question, say.
            line = json.dumps(message, default=RequestRecord.to_json).encode()
        self._lines.put(line + b"\n")

    def _write(self) -> None:
        while True:
            rest = memoryview(self._take_all())
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BrokenPipeError:
                    return  # the reader is gone, and with it our stdin: the program is ending
            time.sleep(_EVERY_S)

    def _take_all(self) -> bytes:
        lines = [self._lines.get()]
        try:
            while True:
                lines.append(self._lines.get_nowait())
        except Empty:
            return b"".join(lines)
