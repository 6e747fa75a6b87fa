"""An HTTP server in this process, with limits on request heads and a graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from medsweep.clock import MonotonicClock
from medsweep.errors import EnvironmentFault, cause_of
from medsweep.models.catalog import MODELS
from medsweep.models.spec import ModelSpec
from medsweep.serving.admission import Limits
from medsweep.serving.app import build_app
from medsweep.serving.config import ServeConfig
from medsweep.serving.protocol import EngineClient
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics
from medsweep.serving.service import open_service
from medsweep.table import NamedTable

MAX_HEAD_BYTES = 64 * 1024
"""Longest request line and headers together; the parser itself has no limit."""

KEEP_ALIVE_S = 75
"""How long a connection may be idle: longer than clients and load balancers allow, so that the
server does not close it just as they send a request."""


def bounded_protocol(head_timeout_s: float) -> type[HttpToolsProtocol]:
    """Return uvicorn's HTTP protocol with limits on the time and size of a request's head.

    Args:
        head_timeout_s: longest time from the connection, or a head's first byte, to the head's end.
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
    """Shuts down on SIGINT, SIGTERM and SIGHUP; on a second one, without waiting for answers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        with super().capture_signals():
            on_main = threading.current_thread() is threading.main_thread()
            before = signal.getsignal(signal.SIGHUP)
            # `nohup` has it ignored.
            if on_main and before is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                if on_main:
                    signal.signal(signal.SIGHUP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own method would raise the signal again after the shutdown.
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind a socket to an address without listening yet.

    Args:
        host: address to listen on.
        port: TCP port; 0 picks a free one.

    Raises:
        EnvironmentFault: the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            raise EnvironmentFault(
                f"cannot listen on {host}:{port}: {cause_of(error)}; give another --host or --port"
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
    """Serve until SIGINT, SIGTERM or SIGHUP, then finish the running requests and return.

    Args:
        app: the ASGI application.
        listener: socket from `bound`.
        limits: the shutdown waits for answers no longer than `timeout_s`.
        start: awaited before the server listens.
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
    models: NamedTable[ModelSpec] = MODELS,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then finish the running requests and return.

    Args:
        config: what to serve.
        host: address to listen on.
        port: TCP port; 0 picks a free one.
        key: API key; None requires none.
        ready: called with the URL when the server answers requests.
        models: the base models that can be served; a sweep's catalogue has its own ones, too.

    Raises:
        InputError: there is nothing to serve, or an adapter does not fit the base.
        EnvironmentFault: the address or the weights are not available.
    """
    clock, sink = MonotonicClock(), PrometheusSink()
    metrics = ServerMetrics([sink])

    async def scrape() -> bytes:
        return sink.text()

    async def lookup(_: str) -> EngineClient:
        return engine

    # The address first: loading can take minutes.
    with (
        bound(host, port) as listener,
        contextlib.closing(open_service(config, metrics, clock, models)) as engine,
    ):
        app = build_app(
            lookup,
            metrics=metrics,
            limits=config.limits,
            key=key,
            check=engine.check,
            fault=engine.fault,
            scrape=scrape,
            clock=clock,
        )
        serve_http(app, listener, limits=config.limits, start=engine.check, ready=ready)
