"""Server-sent events from bytes, as they come off the wire.

Source: WHATWG HTML, "Server-sent events", section "Parsing an event stream". Beyond it, errors that
servers write into a stream without the form of an event are reported too: `error: {...}` lines
(llama.cpp), comments that say so, and bare JSON.
"""

from __future__ import annotations

import re
from typing import Literal

_BOM = b"\xef\xbb\xbf"
_ERROR_NAME = re.compile(rb"(?:^|[^a-z])(?:error|failed|exception)$", re.IGNORECASE)
_ERROR_COMMENT = re.compile(
    rb"^\s*\{|(?<!no )(?<!0 )\berror\b(?!\s*[:=]\s*(?:0|none|null|false|\"\")\s*$)", re.IGNORECASE
)


Event = tuple[bytes, Literal["message", "error", "aside"]]
"""The data of an event, its lines joined by a newline, and its form.

The name of an `error` says that it is one; an `aside` is a comment or a line that is no part of an
event but may be an error.
"""


class SseParser:
    """Turns chunks of bytes, split anywhere, into whole events."""

    def __init__(self) -> None:
        self._partial = b""
        self._after_cr = False
        self._data: list[bytes] = []
        self._is_error = False
        self._began = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes.

        Args:
            chunk: bytes as received; it may end anywhere, inside a CRLF or a character too.

        Returns:
            Every event that these bytes completed, in order. Keep-alive comments, events without
            data and other fields are left out.
        """
        if self._is_one_event(chunk):
            return [(chunk[6:-2], "message")]
        if self._after_cr and chunk:
            # A CR ends its line at once, so that no event waits for a byte that may never come;
            # the LF that belongs to it is dropped when it does.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = (self._partial + chunk).splitlines(keepends=True)
        self._partial = b"" if lines[-1].endswith((b"\r", b"\n")) else lines.pop()
        events: list[Event] = []
        for line in lines:
            events += self._take(line.rstrip(b"\r\n"))
        return events

    def end(self) -> list[Event]:
        """Return the event that the stream ended in, without the empty line that completes it."""
        last, self._partial = self._partial, b""
        return [*(self._take(last) if last else ()), *self._take(b"")]

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether this is what nearly every piece is: one whole event of one line."""
        return (
            chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.count(b"\n") == 2
            and b"\r" not in chunk
            and not (self._partial or self._after_cr or self._data or self._is_error)
        )

    def _take(self, line: bytes) -> list[Event]:
        if not self._began:
            line, self._began = line.removeprefix(_BOM), True
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._is_error = _ERROR_NAME.search(value.strip()) is not None
        elif field == b"error":
            return [(value, "error")]
        elif (not field and _ERROR_COMMENT.search(value)) or field.startswith(b"{"):
            return [(line if field else value, "aside")]
        return []

    def _dispatch(self) -> list[Event]:
        data, is_error = self._data, self._is_error
        self._data, self._is_error = [], False
        if not (data or is_error):
            return []
        return [(b"\n".join(data), "error" if is_error else "message")]
