"""An HTTP server in this process: bounds on slow heads, and an end that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from medsweep.clock import MonotonicClock
from medsweep.errors import EnvironmentFault
from medsweep.serving.admission import Limits
from medsweep.serving.app import build_app
from medsweep.serving.config import ServeConfig
from medsweep.serving.protocol import EngineClient
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics
from medsweep.serving.service import open_service

MAX_HEAD_BYTES = 64 * 1024
"""Longest request line and headers; the parser itself would take whatever comes."""

KEEP_ALIVE_S = 75
"""How long a connection may idle: longer than clients and load balancers keep theirs, so that it is
not closed under a request that is on its way."""


def bounded_protocol(head_timeout_s: float) -> type[HttpToolsProtocol]:
    """Return uvicorn's HTTP protocol with bounds on how long a request's head may take and be.

    Args:
        head_timeout_s: longest time from the first byte of a head (or the connection) to its end.
    """

    class Bounded(HttpToolsProtocol):
        """One connection."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer: asyncio.TimerHandle | None = None
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect_head()

        def on_headers_complete(self) -> None:
            self._stop_timer()
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._head_bytes += len(data)
            if self._timer is not None and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

        def _expect_head(self) -> None:
            self._stop_timer()
            self._head_bytes = 0
            self._timer = self.loop.call_later(head_timeout_s, self._refuse, b"408 Request Timeout")

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self, status: bytes) -> None:
            self._stop_timer()
            if not self.transport.is_closing():
                head = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                self.transport.write(head % status)
                self.transport.close()

    return Bounded


class _Server(uvicorn.Server):
    """Ends by itself on SIGINT and SIGTERM; a second signal does not wait for answers."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own would raise the signal again when everything has been answered.
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Take an address; nobody can connect to it yet.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.

    Raises:
        EnvironmentFault: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise EnvironmentFault(
                f"{host}:{port} cannot be listened on: {error}; give another --host or --port"
            ) from None
        yield listener


def serve_http(
    app: Any,
    listener: socket.socket,
    *,
    limits: Limits,
    start: Callable[[], Awaitable[None]],
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM comes, then answer what has been asked and return.

    Args:
        app: the ASGI application.
        listener: from `bound`.
        limits: no answer is waited for longer than its `timeout_s`.
        start: awaited before anybody can connect.
        ready: called with the server's URL when it listens.
    """
    config = uvicorn.Config(
        app,
        http=bounded_protocol(limits.body_timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(limits.timeout_s) + 1,
    )

    async def main() -> None:
        await start()
        listener.listen(config.backlog)
        host, port = listener.getsockname()[:2]
        ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        await _Server(config).serve(sockets=[listener])

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())


def serve_here(
    config: ServeConfig,
    *,
    host: str,
    port: int,
    key: str | None,
    ready: Callable[[str], None],
) -> None:
    """Serve until a signal comes, then answer what has been asked and return.

    Args:
        config: what to serve.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        key: API key; None asks for none.
        ready: called with the URL when requests are answered.

    Raises:
        InputError: there is nothing to serve, or it does not belong together.
        EnvironmentFault: the address or the weights cannot be had.
    """
    clock, sink = MonotonicClock(), PrometheusSink()
    metrics = ServerMetrics([sink])

    async def scrape() -> bytes:
        return sink.text()

    async def lookup(_: str) -> EngineClient:
        return engine

    # The address first: loading can take minutes.
    with bound(host, port) as listener:
        engine = open_service(config, metrics, clock)
        app = build_app(
            lookup,
            metrics=metrics,
            limits=config.limits,
            key=key,
            check=engine.check,
            scrape=scrape,
            clock=clock,
        )
        try:
            serve_http(
                app,
                listener,
                limits=config.limits,
                start=engine.check,
                ready=ready,
            )
        finally:
            engine.close()
