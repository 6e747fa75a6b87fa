"""A server in this process alone: engine, application and HTTP together, without Ray."""

from __future__ import annotations

from collections.abc import Callable

from medsweep.clock import MonotonicClock
from medsweep.serving.app import build_app
from medsweep.serving.config import ServeConfig
from medsweep.serving.http import bound, serve_http
from medsweep.serving.protocol import EngineClient
from medsweep.serving.server_metrics import PrometheusSink, ServerMetrics
from medsweep.serving.service import open_service


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
