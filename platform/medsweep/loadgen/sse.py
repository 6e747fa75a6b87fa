"""Server-sent events from bytes, as they come off the wire.

Source: WHATWG HTML, "Server-sent events", section "Parsing an event stream".
"""

from __future__ import annotations


class SseParser:
    """Turns chunks of bytes, split anywhere, into the data of whole events."""

    def __init__(self) -> None:
        self._partial = b""
        self._after_cr = False
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes.

        Args:
            chunk: bytes as received; it may end anywhere, inside a CRLF or a character too.

        Returns:
            The data of every event that these bytes completed, in order, its lines joined by a
            newline. Comments, events without data and other fields are left out.
        """
        if self._is_one_event(chunk):
            return [chunk[6:-2]]
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
        events = []
        for line in lines:
            event = self._take(line.rstrip(b"\r\n"))
            if event is not None:
                events.append(event)
        return events

    def _is_one_event(self, chunk: bytes) -> bool:
        """Whether this is what nearly every piece is: one whole event of one line."""
        return (
            chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.count(b"\n") == 2
            and b"\r" not in chunk
            and not (self._partial or self._after_cr or self._data)
        )

    def _take(self, line: bytes) -> bytes | None:
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        if not self._data:
            return None
        event, self._data = b"\n".join(self._data), []
        return event
