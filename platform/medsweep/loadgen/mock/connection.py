"""One connection of the mock server: reads requests, plays answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import httptools

from medsweep.loadgen.mock.timing import BAD_REQUEST, Script, whole_answer

if TYPE_CHECKING:
    from medsweep.loadgen.mock.server import MockServer

_MODELS = whole_answer(b'{"object": "list", "data": [{"id": "mock", "object": "model"}]}')
# An endless answer to a client that does not read must not fill the memory.
_MOST_UNSENT_BYTES = 1 << 20


class MockConnection(asyncio.Protocol):
    """Serves one request after the other.

    Args:
        server: whose requests they are.
    """

    def __init__(self, server: MockServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._in_flight = False
        self._script: Script | None = None
        self._start_s = 0.0
        self._place = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._server.accepted += 1

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(BAD_REQUEST)
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Stop the answer, if there is one."""
        self._server.connections.discard(self)
        self._end()

    def on_body(self, data: bytes) -> None:
        """Collect the body; called by the parser."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer the request; called by the parser."""
        if self._parser.get_method() == b"GET":
            self._transport.write(_MODELS)
            return
        body: dict[str, Any] = json.loads(bytes(self._body))
        self._body.clear()
        self._in_flight = True
        self._server.take(self, body)

    def play(self, script: Script) -> None:
        """Begin an answer now."""
        self._script, self._place = script, 0
        self._start_s = self._server.clock.now()
        # A first step that is due at once leaves at once.
        if script.steps and script.steps[0][0] <= 0:
            self._step()
        else:
            self._wait()

    def abort(self) -> None:
        """Break the connection."""
        self._transport.abort()

    def _step(self) -> None:
        script = self._script
        if script is None:
            return  # the client hung up meanwhile
        if script.ending == "repeat" and self._place >= len(script.steps):
            if self._transport.get_write_buffer_size() < _MOST_UNSENT_BYTES:
                self._transport.write(script.steps[-1][1])
        else:
            busy_s = self._server.timing.busy_s
            if busy_s and self._place:
                until_s = self._server.clock.now() + busy_s
                while self._server.clock.now() < until_s:
                    pass
            self._transport.write(script.steps[self._place][1])
        self._place += 1
        self._wait()

    def _wait(self) -> None:
        """Wait for the next step, or end.

        Every moment is counted from the start of service, so that errors do not add up.
        """
        script = self._script
        if script is None:
            return
        steps = script.steps
        if self._place < len(steps):
            self._server.pacer.at(self._start_s + steps[self._place][0], self._step)
        elif script.ending == "keep":
            self._end()
        elif script.ending == "break":
            self._transport.abort()
        elif script.ending == "repeat":
            over = self._place - len(steps) + 1
            self._server.pacer.at(self._start_s + steps[-1][0] + over * script.every_s, self._step)

    def _end(self) -> None:
        if self._in_flight:
            served, self._script = self._script is not None, None
            self._in_flight = False
            self._server.leave(self, served=served)
