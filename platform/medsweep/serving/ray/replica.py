"""One engine in a process of its own: a replica of Ray Serve, for `serve` and for sweeps."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from medsweep.clock import MonotonicClock
from medsweep.cluster.cpu_pinning import GrantedCpus, take_cpus, wait_asleep
from medsweep.hardware.cgroup import cpu_throttled_periods
from medsweep.hardware.observe import observe_host
from medsweep.results.provenance import provenance
from medsweep.serving.adapter_pool import AdapterPool
from medsweep.serving.api_errors import without_text
from medsweep.serving.config import ServeConfig
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.null import NULL_MODEL, NullEngine, is_null
from medsweep.serving.health import Health
from medsweep.serving.protocol import Delta, Engine, EngineClient, EngineSettings, Generation
from medsweep.serving.server_metrics import (
    ADAPTER_METRICS,
    PrometheusSink,
    RaySink,
    ServerMetrics,
)
from medsweep.serving.service import open_pool
from medsweep.telemetry.recording import Recording
from medsweep.telemetry.sampler import Sampler


class EngineReplica:
    """An engine with its adapters, or one that is measured.

    Args:
        resolve: returns the engine's settings. Called here, because only this node knows its GPUs
            and has the weights.
        pool: loads adapters as requests ask for them; None serves those of the settings alone.
        measured_cpus: CPUs of the hardware profile that is measured. The process keeps to them, the
            null model answers beside the engine, and health is checked once. None measures nothing.
    """

    def __init__(
        self,
        resolve: Callable[[], EngineSettings],
        *,
        pool: ServeConfig | None = None,
        measured_cpus: int | None = None,
    ) -> None:
        wait_asleep()
        clock = MonotonicClock()
        self._sink = PrometheusSink(ADAPTER_METRICS)
        self._settings = resolve()
        if pool is None:
            self._engine: Engine | AdapterPool = open_engine(self._settings)
        else:
            metrics = ServerMetrics([self._sink, RaySink(ADAPTER_METRICS)])
            self._engine = open_pool(self._settings, pool, metrics, clock)
        self._null: EngineClient | None = None
        self._granted: GrantedCpus | None = None
        if measured_cpus is not None:
            self._null = NullEngine()
            # After loading, which may use all cores; measurements use only the profile's.
            self._granted = take_cpus(measured_cpus)
        self._health = Health(self._engine.check, clock, self._engine.fault)
        self._checked = False
        self._sampler: Sampler | None = None
        self._replica = uuid.uuid4().hex

    async def check_health(self) -> None:
        """Generate a token; Ray Serve calls this before the first request, then every few seconds.

        Engines that start together warm up in parallel. A measured engine generates a token only
        once, because a later one would disturb the measurement of another engine.
        """
        if not self._checked:
            await self._engine.check()  # also loads adapters, so it may take long
            self._checked = True
        elif self._null is None:
            await self._health.check()

    async def models(self) -> list[str]:
        """Return every name that requests may use."""
        names = await self._engine.models()
        return names if self._null is None else [*names, NULL_MODEL]

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer."""
        engine: EngineClient = self._engine
        if self._null is not None and is_null(request.model):
            engine = self._null
        with without_text():
            async for delta in engine.stream(request):
                self._health.token()
                yield delta

    def scrape(self) -> bytes:
        """Return this process's metrics in Prometheus' text format."""
        return self._sink.text()

    def observed(self) -> dict[str, Any]:
        """Return the hardware and software of a measured engine, for a driver elsewhere."""
        return {
            **asdict(observe_host()),
            **(asdict(self._granted) if self._granted is not None else {}),
            "dtype": self._settings.dtype,
            "gpu_use": self._settings.gpu_use,
            "versions": provenance()["versions"],
            "engine_settings": self._engine.details(),
            "cpu_throttled_periods": cpu_throttled_periods(),
        }

    def start_sampling(self) -> str:
        """Start sampling this machine and this process; return the engine's identity."""
        self.stop_sampling()
        self._sampler = Sampler({"engine": os.getpid()})
        self._sampler.start()
        return self._identity()

    def stop_sampling(self) -> tuple[str, Recording | None]:
        """Stop sampling; return the engine's identity, and the recording if there is one."""
        sampler, self._sampler = self._sampler, None
        return self._identity(), None if sampler is None else sampler.stop()

    def _identity(self) -> str:
        """Return another text after the replica, or the engine's process, was started anew."""
        return f"{self._replica} {self._engine.details().get('starts', 1)}"
