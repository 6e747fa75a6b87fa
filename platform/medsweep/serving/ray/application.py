"""The Ray Serve application of one served base: a thin ingress, and the engine behind it.

The same application, bounds and metrics as without Ray; only between the two there is a handle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from medsweep.clock import MonotonicClock
from medsweep.errors import InputError
from medsweep.hardware.profile import HardwareProfile
from medsweep.serving.admission import Limits
from medsweep.serving.api_errors import without_text
from medsweep.serving.app import build_app
from medsweep.serving.config import ServeConfig
from medsweep.serving.health import TIMEOUT_S, Health
from medsweep.serving.middleware import KEY_VARIABLE, read_key
from medsweep.serving.protocol import Delta, Generation
from medsweep.serving.ray.remote_engine import RemoteEngine
from medsweep.serving.request import Answering
from medsweep.serving.server_metrics import (
    ADAPTER_METRICS,
    REQUEST_METRICS,
    PrometheusSink,
    RaySink,
    ServerMetrics,
)
from medsweep.serving.service import open_service

SPARE_CALLS = 16
"""Calls of a replica beside answers: health, names, metrics. Without them a full server would look
dead."""


class EngineServer:
    """A replica: one base in memory with its adapters.

    Args:
        config: what it serves.
    """

    def __init__(self, config: ServeConfig) -> None:
        clock = MonotonicClock()
        self._sink = PrometheusSink(ADAPTER_METRICS)
        metrics = ServerMetrics([self._sink, RaySink(ADAPTER_METRICS)])
        self._service = open_service(config, metrics, clock)
        self._health = Health(self._service.check, clock)
        self._warm = False

    async def check_health(self) -> None:
        """Generate a token; Ray Serve asks before the first request, then every few seconds."""
        if not self._warm:
            await self._service.warm_up()
            self._warm = True
        await self._health.check()

    async def models(self) -> list[str]:
        """Return every name that requests may use."""
        return await self._service.models()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer."""
        with without_text():
            async for delta in self._service.stream(request):
                self._health.token()
                yield delta

    def scrape(self) -> bytes:
        """Return what this process counted, in Prometheus' text format."""
        return self._sink.text()


class IngressServer:
    """A replica: OpenAI's routes, bounds and metrics; holds no model.

    Args:
        engine: Ray Serve's handle of the engine.
        limits: bounds.

    Raises:
        InputError: there is no API key. Who can reach Ray Serve's port cannot be known here.
    """

    def __init__(self, engine: Any, limits: Limits) -> None:
        self._handle, self._engine, self._limits = engine, RemoteEngine(engine), limits
        # From the replica's environment: an argument would be stored with the application.
        self._key = read_key(None)
        if self._key is None:
            raise InputError(f"{KEY_VARIABLE} is not set in the environment of the Ray node")
        self._sink = PrometheusSink(REQUEST_METRICS)

    def __serve_build_asgi_app__(self) -> Any:
        return build_app(
            self._lookup,
            metrics=ServerMetrics([self._sink, RaySink(REQUEST_METRICS)]),
            limits=self._limits,
            key=self._key,
            check=self._engine.check,
            scrape=self._scrape,
        )

    async def _lookup(self, _: str) -> Answering:
        return self._engine

    async def _scrape(self) -> bytes:
        counted: bytes = await self._handle.scrape.remote()
        return self._sink.text() + counted


def build_application(config: ServeConfig, profile: HardwareProfile | None) -> Any:
    """Return the application, for `serve.run` or a RayService manifest.

    Args:
        config: what is served.
        profile: selects the engine's node by its labels, and takes its CPUs and GPUs; None takes
            one CPU wherever there is one.
    """
    from ray import serve

    limits = config.limits
    drained: dict[str, Any] = {
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": limits.timeout_s,
    }
    where: dict[str, Any] = {"num_cpus": 1}
    if profile is not None:
        where = {
            "num_cpus": profile.cpus,
            "num_gpus": profile.gpus,
            "label_selector": profile.labels,
        }
    engine = serve.deployment(
        name="Engine",
        max_ongoing_requests=limits.max_concurrent + SPARE_CALLS,
        max_queued_requests=limits.max_queued + SPARE_CALLS,
        health_check_timeout_s=2 * TIMEOUT_S,
        ray_actor_options=where,
        **drained,
    )(EngineServer).bind(config)
    # The gate refuses in OpenAI's shape; Ray Serve's own bound lies beyond it.
    together = limits.max_concurrent + limits.max_queued + SPARE_CALLS
    ingress: Any = serve.deployment(
        name="Ingress",
        max_ongoing_requests=together,
        max_queued_requests=together,
        ray_actor_options={"num_cpus": 0},
        **drained,
    )(serve.ingress()(IngressServer))
    return ingress.bind(engine, limits)
