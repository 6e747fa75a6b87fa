"""An OpenAI-compatible streaming server whose timing is known, to measure the client with.

`python -m medsweep.loadgen.mock_server --port 0` prints `{"port": 12345}` and serves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

from aiohttp import web

from medsweep.clock import MonotonicClock
from medsweep.loadgen.eventloop import open_stdin, run
from medsweep.loadgen.mock_answer import MockTiming, answer_events


class MockServer:
    """The server's state, for tests to look at.

    Attributes:
        port: TCP port on 127.0.0.1.
        in_flight: requests that are being served or wait for a slot.
        peak: the most that ever were.
        requests: bodies of all requests so far, in order of arrival.
    """

    def __init__(self, timing: MockTiming) -> None:
        self.port = 0
        self.in_flight = 0
        self.peak = 0
        self.requests: list[dict[str, Any]] = []
        self._timing = timing
        self._clock = MonotonicClock()
        self._slots = asyncio.Semaphore(timing.slots) if timing.slots else contextlib.nullcontext()

    @property
    def base_url(self) -> str:
        """What a `LoadJob` takes as `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one request of either endpoint."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            async with self._slots:
                started_s = self._clock.now()
                body = await request.json()
                self.requests.append(body)
                if self._timing.fail in ("http_500", "http_429"):
                    return web.Response(status=int(self._timing.fail.removeprefix("http_")))
                if self._timing.fail == "html":
                    return web.Response(text="<html></html>", content_type="text/html")
                return await self._stream(request, body, started_s)
        finally:
            self.in_flight -= 1

    async def _stream(
        self, request: web.Request, body: dict[str, Any], started_s: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        options = body.get("stream_options") or {}
        events = answer_events(
            self._timing,
            chat="messages" in body,
            usage=bool(options.get("include_usage")),
            continuous_usage=bool(options.get("continuous_usage_stats")),
        )
        for offset_s, data in events:
            # Each wait is for a moment counted from the start, so that errors do not add up. One
            # sleep has to do: spinning through the rest of a millisecond, as `sleep_until` does,
            # would take the processor from the client under test.
            await asyncio.sleep(max(0.0, started_s + offset_s - self._clock.now()))
            await response.write(data)
        if self._timing.fail == "cut" and request.transport is not None:
            request.transport.abort()
        return response


@contextlib.asynccontextmanager
async def running_mock(timing: MockTiming, port: int = 0) -> AsyncIterator[MockServer]:
    """Run a mock server in this event loop.

    Args:
        timing: how it answers.
        port: TCP port on 127.0.0.1; 0 takes any that is free.

    Yields:
        The server, ready for requests.
    """
    server = MockServer(timing)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    app.router.add_post("/v1/completions", server.answer)
    # A client that hangs up frees its slot at once, as it does in a real server.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


def main() -> None:
    """Serve until killed, or until stdin closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--die-with-stdin", action="store_true")
    # Flags of MockTiming that are neither yes or no nor seconds.
    kinds = {"tokens": int, "slots": int, "tokens_per_chunk": int, "fail": str}
    for field in fields(MockTiming):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            kind = kinds.get(field.name, float)
            parser.add_argument(flag, type=kind, default=field.default)
    flags = vars(parser.parse_args())
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
