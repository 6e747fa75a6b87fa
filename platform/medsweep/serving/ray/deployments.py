"""The Ray Serve applications: one thin HTTP ingress, and behind it an engine for each cell."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from medsweep.cluster.cpu_pinning import take_cpus, usable_cpus, wait_asleep
from medsweep.cluster.ray_errors import root_cause
from medsweep.errors import StageError, UnknownName
from medsweep.finetune.adapter import read_adapter
from medsweep.hardware.cgroup import cpu_throttled_periods
from medsweep.hardware.nvidia import observe_gpus
from medsweep.hardware.observe import observe_host
from medsweep.hardware.profile import HardwareProfile
from medsweep.results.provenance import provenance
from medsweep.serving.admission import Limits
from medsweep.serving.api_errors import without_text
from medsweep.serving.app import build_app
from medsweep.serving.engines import open_engine
from medsweep.serving.engines.null import NULL_MODEL, NullEngine
from medsweep.serving.protocol import Delta, Engine, EngineSettings, Generation
from medsweep.serving.ray.remote_engine import RemoteEngine
from medsweep.serving.request import Answering
from medsweep.serving.server_metrics import ServerMetrics
from medsweep.telemetry.sampler import Recording, Sampler

INGRESS = "ingress"
MAX_ONGOING = 512
MAX_QUEUED = 1024
START_TIMEOUT_S = 600.0
ANSWER_TIMEOUT_S = 3600.0
POLL_S = 0.5
_LOOK_S = 30.0


@dataclass(frozen=True)
class Deployed:
    """What one cell needs to be served.

    Attributes:
        name: of the application; the first part of the URL's path.
        profile: selects the node by its labels; its CPUs are what the engine is given.
        settings: of the engine; the dtype is for a node with GPUs.
    """

    name: str
    profile: HardwareProfile
    settings: EngineSettings


class EngineReplica:
    """One engine in a process of its own, with its profile's CPUs; `null` answers beside it."""

    def __init__(self, deployed: Deployed) -> None:
        wait_asleep()
        # Without the GPU that the dtype was chosen for, the CPU computes in float32.
        self._dtype = deployed.settings.dtype if observe_gpus() else "float32"
        adapters = deployed.settings.adapters.items()
        settings = replace(
            deployed.settings,
            adapters={name: read_adapter(adapter.folder) for name, adapter in adapters},
            dtype=self._dtype,
            cpus=min(deployed.profile.cpus, usable_cpus()),
        )
        self._engine = open_engine(settings)
        self._null = NullEngine()
        # After loading, which may use the whole machine: what is measured keeps to the profile.
        self._granted = take_cpus(deployed.profile.cpus)
        self._sampler: Sampler | None = None
        self._identity = uuid.uuid4().hex
        self._warm = False

    async def check_health(self) -> None:
        """Generate a token, once: Ray Serve asks before the first request, then every few seconds.

        Engines that start together warm up beside each other, and none while another is measured.
        """
        if not self._warm:
            await self._engine.check()
            self._warm = True

    def models(self) -> list[str]:
        """Return every name that requests may use."""
        return [*self._engine.models(), NULL_MODEL]

    def observed(self) -> dict[str, Any]:
        """Return what this replica really runs on; the driver is on another machine."""
        return {
            **asdict(observe_host()),
            **asdict(self._granted),
            "dtype": self._dtype,
            "versions": provenance()["versions"],
            "cpu_throttled_periods": cpu_throttled_periods(),
        }

    def watch(self) -> str:
        """Begin to sample this machine and this process; return which replica this is."""
        self.watched()
        self._sampler = Sampler({"engine": os.getpid()})
        self._sampler.start()
        return self._identity

    def watched(self) -> tuple[str, Recording | None]:
        """End sampling; return which replica this is, and what was recorded if anything was."""
        sampler, self._sampler = self._sampler, None
        return self._identity, None if sampler is None else sampler.stop()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer."""
        engine: Engine = self._null if request.model == NULL_MODEL else self._engine
        with without_text():
            async for delta in engine.stream(request):
                yield delta


class _Engines:
    """Finds the engine of a served cell, and remembers its handle."""

    def __init__(self) -> None:
        self._known: dict[str, RemoteEngine] = {}

    async def __call__(self, served: str) -> Answering:
        if served not in self._known:
            from ray import serve
            from ray.serve.exceptions import RayServeException

            try:
                handle = serve.get_app_handle(served)
                remote = RemoteEngine(handle)
                await remote.models()
            except RayServeException:
                raise UnknownName("served cell", served, self._known) from None
            self._known[served] = remote
        return self._known[served]


def start_ingress(port: int) -> str:
    """Start Ray Serve's proxy on the loopback address and the ingress behind it, once.

    Args:
        port: TCP port of the proxy.

    Returns:
        Base URL of the cells that are deployed.
    """
    from ray import serve
    from ray.serve.config import HTTPOptions

    # What it would say is shown by the run itself. A filter, because starting sets the level anew.
    logging.getLogger("ray.serve").addFilter(lambda record: record.levelno >= logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host="127.0.0.1", port=port))
    url = f"http://127.0.0.1:{port}"
    if INGRESS in serve.status().applications:
        return url

    @serve.deployment(
        name="Ingress",
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_QUEUED,
        ray_actor_options={"num_cpus": 0},
    )
    @serve.ingress()
    class Ingress:
        """OpenAI's routes on the head node; holds no model."""

        def __serve_build_asgi_app__(self) -> Any:
            # The load generator has a time limit of its own, which is the one to find out about.
            limits = Limits(
                max_concurrent=MAX_ONGOING, max_queued=MAX_QUEUED, timeout_s=ANSWER_TIMEOUT_S
            )
            return build_app(_Engines(), metrics=ServerMetrics([]), limits=limits, many=True)

    application: Any = Ingress
    serve.run(application.bind(), name=INGRESS, route_prefix="/", logging_config=_quiet())
    return url


def deploy(deployments: Sequence[Deployed]) -> dict[str, dict[str, Any] | StageError]:
    """Start an engine for each of several cells at one time, and wait for them.

    Returns:
        By name, what each engine really runs on; or, for one that did not start, why.
    """
    from ray import serve
    from ray.serve import RunTarget

    targets = [
        RunTarget(target=_engine(deployed), name=deployed.name, route_prefix=None)
        for deployed in deployments
    ]
    serve.run_many(
        targets,
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    return {deployed.name: _wait_for(deployed.name) for deployed in deployments}


def throttled_periods(name: str) -> int | None:
    """Return how many scheduling periods a quota has cut short where an engine runs, so far."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        observed = serve.get_app_handle(name).observed.remote().result(timeout_s=_LOOK_S)
    except (RayError, RayServeException, TimeoutError):
        return None
    periods: int | None = observed["cpu_throttled_periods"]
    return periods


def undeploy(names: Sequence[str]) -> None:
    """Stop the engines of several cells."""
    from ray import serve

    for name in names:
        serve.delete(name, _blocking=False)
    while set(names) & set(serve.status().applications):
        time.sleep(POLL_S)


def _engine(deployed: Deployed) -> Any:
    """Return the Ray Serve application of one cell's engine."""
    from ray import serve

    return serve.deployment(
        name="Engine",
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_QUEUED,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5,
        logging_config=_quiet(),
        ray_actor_options={
            "num_cpus": deployed.profile.cpus,
            # Ray hides the GPUs of a node from whoever does not ask for them.
            "num_gpus": deployed.profile.gpus,
            "label_selector": deployed.profile.labels,
        },
    )(EngineReplica).bind(deployed)


def _wait_for(name: str) -> dict[str, Any] | StageError:
    from ray import serve

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        application = serve.status().applications[name]
        if application.status == "RUNNING":
            observed: dict[str, Any] = serve.get_app_handle(name).observed.remote().result()
            return observed
        if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            why = [status.message for status in application.deployments.values()]
            return StageError(f"serving did not start: {root_cause(' '.join(why))}")
        time.sleep(POLL_S)
    return StageError(f"serving did not start within {START_TIMEOUT_S:.0f} s")


def _quiet() -> Any:
    from ray.serve.schema import LoggingConfig

    return LoggingConfig(log_level="WARNING", enable_access_log=False)
