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
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any, get_args

from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.eventloop import allow_many_connections, open_stdin, run
from medsweep.loadgen.mock.answer import Fail, MockTiming
from medsweep.loadgen.mock.connection import MockConnection
from medsweep.loadgen.mock.pacer import Pacer
from medsweep.loadgen.mock.timing import Script, script_of

_REMEMBERED = 4096


class MockServer:
    """The server's state, for tests to look at.

    Attributes:
        base_url: what a `LoadJob` takes as `base_url`.
        port: TCP port on 127.0.0.1.
        timing: how it answers.
        clock: what answers are timed with.
        pacer: what answers are played by.
        in_flight: requests that are being served or wait for a slot.
        peak: the most that ever were.
        received: requests so far.
        requests: bodies of the last of them, in order of arrival.
        connections: those that are open.
        accepted: connections so far.
    """

    def __init__(self, timing: MockTiming, clock: Clock) -> None:
        self.base_url = ""
        self.port = 0
        self.timing = timing
        self.clock = clock
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
        script = script_of(self.timing, body, self.received)
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


@contextlib.asynccontextmanager
async def running_mock(
    timing: MockTiming,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[MockServer]:
    """Run a mock server in this event loop.

    Args:
        timing: how it answers.
        port: TCP port on 127.0.0.1; 0 takes any that is free.
        tls: certificate and key; None serves plain HTTP.
        clock: what answers are timed with; None for the machine's.

    Yields:
        The server, ready for requests.
    """
    state = MockServer(timing, clock or MonotonicClock())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: MockConnection(state), "127.0.0.1", port, backlog=4096, ssl=tls
    )
    state.port = server.sockets[0].getsockname()[1]
    state.base_url = f"http{'s' if tls else ''}://127.0.0.1:{state.port}/v1"
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
    run(_serve(flags.pop("port"), flags.pop("die_with_stdin"), MockTiming(**flags)))


async def _serve(port: int, die_with_stdin: bool, timing: MockTiming) -> None:
    async with running_mock(timing, port) as server:
        print(json.dumps({"port": server.port}), flush=True)  # noqa: T201 -- how callers find it
        if die_with_stdin:
            await (await open_stdin()).read()
        else:
            await asyncio.Event().wait()


if __name__ == "__main__":
    main()
