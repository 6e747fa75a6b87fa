"""An OpenAI-compatible streaming server whose timing is known, to measure the client with.

`python -m medsweep.loadgen.mock.server --port 0` prints `{"port": 12345}` and serves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from typing import Any, cast, get_args

import httptools

from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.eventloop import Sender, allow_many_connections, open_stdin, run
from medsweep.loadgen.mock.pacer import Pacer
from medsweep.loadgen.mock.timing import (
    BAD_REQUEST,
    STAMP,
    Fail,
    MockTiming,
    Script,
    http_answer,
    script_of,
    spoken,
    stamp,
)

Speak = Callable[[dict[str, Any]], str]
"""Returns the text of an answer, given the body of the request."""

_REMEMBERED = 4096
_NO_ROUTE = http_answer(404, b"{}")
_MODELS = http_answer(200, b'{"object": "list", "data": [{"id": "mock", "object": "model"}]}')
# An endless answer to a client that does not read must not fill the memory.
_MOST_UNSENT_BYTES = 1 << 20


class MockServer:
    """The server's state, for tests to look at.

    Attributes:
        base_url: what a `LoadJob` takes as `base_url`.
        port: TCP port.
        timing: how it answers.
        clock: what answers are timed with.
        speak: returns the text of the answer to a chat request; None for words without sense.
        pacer: what answers are played by.
        in_flight: requests that are being served or wait for a slot.
        peak: the most that ever were.
        received: requests so far.
        requests: bodies of the last of them, in order of arrival.
        connections: those that are open.
        accepted: connections so far.
    """

    def __init__(self, timing: MockTiming, clock: Clock, speak: Speak | None = None) -> None:
        self.base_url = ""
        self.port = 0
        self.timing = timing
        self.clock = clock
        self.speak = speak
        self.pacer = Pacer(self.clock)
        self.in_flight = 0
        self.peak = 0
        self.received = 0
        self.requests: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self.connections: set[MockConnection] = set()
        self.accepted = 0
        self._serving = 0
        self._waiting: deque[tuple[MockConnection, Script]] = deque()

    def take(self, connection: MockConnection, body: dict[str, Any]) -> None:
        """Answer a request now, or when a slot is free."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.requests.append(body)
        if self.speak is None:
            script = script_of(self.timing, body, self.received)
        else:
            script = spoken(self.speak(body), body)
        self.received += 1
        if self.timing.slots is not None and self._serving >= self.timing.slots:
            self._waiting.append((connection, script))
        else:
            self._serving += 1
            connection.play(script)

    def leave(self, connection: MockConnection, *, served: bool) -> None:
        """Let go of a request that has ended, or whose client hung up; its slot is free at once."""
        self.in_flight -= 1
        if not served:
            self._waiting = deque(each for each in self._waiting if each[0] is not connection)
            return
        if self._waiting:
            other, script = self._waiting.popleft()
            other.play(script)
        else:
            self._serving -= 1


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
        self._sender = Sender(transport)
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

    def on_url(self, url: bytes) -> None:
        """Note what is asked for; called by the parser."""
        self._url = url

    def on_body(self, data: bytes) -> None:
        """Collect the body; called by the parser."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer the request; called by the parser."""
        if self._parser.get_method() == b"GET":
            self._transport.write(_MODELS if self._url.endswith(b"/models") else _NO_ROUTE)
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
            data = script.steps[self._place][1]
            if self._server.timing.stamps:
                data = data.replace(STAMP, stamp(self._server.clock.now()))
            self._sender.send(data)
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


@contextlib.asynccontextmanager
async def running_mock(
    timing: MockTiming,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
    host: str = "127.0.0.1",
    speak: Speak | None = None,
) -> AsyncIterator[MockServer]:
    """Run a mock server in this event loop.

    Args:
        timing: how it answers.
        port: TCP port; 0 takes any that is free.
        tls: certificate and key; None serves plain HTTP.
        clock: what answers are timed with; None for the machine's.
        host: address to listen on.
        speak: returns the text of the answer to a chat request; None for words without sense.

    Yields:
        The server, ready for requests.
    """
    state = MockServer(timing, clock or MonotonicClock(), speak)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: MockConnection(state), host, port, backlog=4096, ssl=tls
    )
    state.port = server.sockets[0].getsockname()[1]
    state.base_url = f"http{'s' if tls else ''}://{host}:{state.port}/v1"
    try:
        yield state
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.abort()
        await server.wait_closed()


def main() -> None:
    """Serve until killed, or until stdin closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--die-with-stdin", action="store_true")
    # Flags of MockTiming that are neither yes or no nor numbers with a fraction.
    kinds = {"tokens": int, "slots": int, "tokens_per_chunk": int, "fail": str}
    for field in fields(MockTiming):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            choices = get_args(Fail) if field.name == "fail" else None
            kind = kinds.get(field.name, float)
            parser.add_argument(flag, type=kind, default=field.default, choices=choices)
    flags = vars(parser.parse_args())
    allow_many_connections()
    place = flags.pop("host"), flags.pop("port")
    run(_serve(*place, flags.pop("die_with_stdin"), MockTiming(**flags)))


async def _serve(host: str, port: int, die_with_stdin: bool, timing: MockTiming) -> None:
    async with running_mock(timing, port, host=host) as server:
        print(json.dumps({"port": server.port}), flush=True)  # noqa: T201 -- how callers find it
        if die_with_stdin:
            await (await open_stdin()).read()
        else:
            await asyncio.Event().wait()


if __name__ == "__main__":
    main()
