"""The Ray Serve applications of a sweep: one ingress, and one engine per cell."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medsweep.cluster.cpu_pinning import usable_cpus
from medsweep.cluster.emulation import has_gpus, on_emulated_node
from medsweep.cluster.ray_errors import root_cause
from medsweep.errors import StageError
from medsweep.finetune.adapter import read_adapter
from medsweep.hardware.nvidia import observe_gpus, require_gpus
from medsweep.hardware.profile import HardwareProfile
from medsweep.serving.admission import Limits
from medsweep.serving.config import on_gpus
from medsweep.serving.merge import merged_settings
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.ray.application import node_of
from medsweep.serving.ray.ingress import ingress_application
from medsweep.serving.ray.remote_engine import ask_engine
from medsweep.serving.ray.replica import EngineReplica

INGRESS = "ingress"
MAX_ONGOING = 512
MAX_QUEUED = 1024
START_TIMEOUT_S = 600.0
"""How long one replica of an engine may take to start."""
STOP_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 3600.0
POLL_S = 0.2
_LOOK_S = 30.0


@dataclass(frozen=True)
class CellDeployment:
    """Settings of one cell's engine.

    Attributes:
        name: name of the application, and the first part of the URL's path.
        profile: its labels select the node; the engine gets its CPUs.
        settings: settings of the engine, with the dtype for a node with GPUs.
        merged: serve its adapter merged into a copy of the base.
    """

    name: str
    profile: HardwareProfile
    settings: EngineSettings
    merged: bool = False

    @property
    def start_timeout_s(self) -> float:
        """How long its replicas may take to start, in seconds: they start one after the other.

        Where a CPU stands in for the GPUs, there is one.
        """
        return START_TIMEOUT_S * (self.settings.replicas if has_gpus(self.profile) else 1)

    def settings_here(self) -> EngineSettings:
        """Return the settings for this node, whose disk holds the same adapters.

        Raises:
            StageError: it does not.
            EnvironmentFault: the node should have GPUs and has none.
        """
        if not on_emulated_node():
            require_gpus(self.profile)
        for adapter in self.settings.adapters.values():
            if read_adapter(adapter.folder) != adapter:
                raise StageError(f"{adapter.folder}: another adapter than when this run began")
        dtype = dtype_here(self.settings.dtype, self.profile.gpus)
        cpus = min(self.profile.cpus, usable_cpus())
        present = replace(self.profile, gpus=min(self.profile.gpus, len(observe_gpus())))
        settings = on_gpus(replace(self.settings, dtype=dtype, cpus=cpus), present)
        return merged_settings(settings) if self.merged else settings


def dtype_here(dtype: str, gpus: int) -> str:
    """Return the dtype that is computed in on this node.

    Without the GPUs that it was chosen for, the CPU that stands in for them computes in float32.

    Args:
        dtype: chosen for the profile.
        gpus: of the profile.
    """
    return "float32" if gpus and not observe_gpus() else dtype


def start_ingress(port: int, *, loopback: bool = True) -> str:
    """Start Ray Serve's proxy and the ingress, unless they run already.

    Args:
        port: TCP port of the proxy.
        loopback: listen on the loopback address alone; otherwise on that of this Ray node, for load
            generators on other nodes.

    Returns:
        Base URL of the cells that are deployed.
    """
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions

    # The run itself reports the same. A filter, because `serve.start` resets the level.
    logging.getLogger("ray.serve").addFilter(lambda record: record.levelno >= logging.ERROR)
    host = "127.0.0.1" if loopback else ray.util.get_node_ip_address()
    serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host=host, port=port))
    url = f"http://{host}:{port}"
    running = serve.status().applications.get(INGRESS)
    if running is not None and running.status == "RUNNING":
        return url
    # The load generator's own time limit must be reached first.
    limits = Limits(max_concurrent=MAX_ONGOING, max_queued=MAX_QUEUED, timeout_s=ANSWER_TIMEOUT_S)
    application = ingress_application(limits, most_requests=MAX_ONGOING + MAX_QUEUED)
    serve.run(application, name=INGRESS, route_prefix="/", logging_config=_quiet())
    return url


def deploy(deployments: Sequence[CellDeployment]) -> dict[str, dict[str, Any] | StageError]:
    """Start the engines of several cells together, and wait for them.

    Returns:
        By name, the hardware that the engine runs on, with `started_after_s`, the seconds from here
        until it ran; or the reason why it did not start.
    """
    from ray import serve
    from ray.serve import RunTarget

    targets = [
        RunTarget(target=_engine(deployed), name=deployed.name, route_prefix=None)
        for deployed in deployments
    ]
    requested_s = time.monotonic()
    serve.run_many(
        targets,
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    limits_s = {each.name: each.start_timeout_s for each in deployments}
    return wait_for(limits_s, requested_s)


def throttled_periods(name: str) -> int | None:
    """Return how many CPU scheduling periods have been throttled where an engine runs."""
    observed = ask_engine(name, "observed", _LOOK_S)
    periods: int | None = None if observed is None else observed["cpu_throttled_periods"]
    return periods


def undeploy(names: Sequence[str]) -> None:
    """Stop the engines of several cells, and wait for their end.

    Raises:
        StageError: some are still there after `STOP_TIMEOUT_S`: what was measured beside them would
            be wrong.
    """
    from ray import serve

    for name in names:
        serve.delete(name, _blocking=False)
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while remaining := sorted(set(names) & set(serve.status().applications)):
        if time.monotonic() > deadline_s:
            raise StageError(
                f"serving did not stop within {STOP_TIMEOUT_S:.0f} s (cells "
                f"{', '.join(remaining)}), so nothing else can be measured on its nodes; run the "
                "same command again, which continues with what is left"
            )
        time.sleep(POLL_S)


def _engine(deployed: CellDeployment) -> Any:
    """Return the Ray Serve application of one cell's engine."""
    from ray import serve

    return serve.deployment(
        name="Engine",
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_QUEUED,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5,
        logging_config=_quiet(),
        ray_actor_options=node_of(deployed.profile),
    )(EngineReplica).bind(deployed.settings_here, measured_cpus=deployed.profile.cpus)


def wait_for(
    limits_s: Mapping[str, float], requested_s: float
) -> dict[str, dict[str, Any] | StageError]:
    """Wait until applications run or have failed; see `deploy`.

    Args:
        limits_s: how long each application may take, in seconds, by its name; each is timed by
            itself, whichever runs first.
        requested_s: when they were requested, on the monotonic clock.
    """
    from ray import serve

    started: dict[str, float | StageError] = {}
    while len(started) < len(limits_s):
        applications = serve.status().applications
        after_s = time.monotonic() - requested_s
        for name, limit_s in limits_s.items():
            application = applications[name]
            if name in started:
                continue
            if application.status == "RUNNING":
                started[name] = after_s
            elif application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                why = [status.message for status in application.deployments.values()]
                reason = root_cause(" ".join(why))
                started[name] = StageError(f"serving did not start: {reason}")
            elif after_s > limit_s:
                reason = f"serving did not start within {limit_s:.0f} s"
                started[name] = StageError(reason)
        if len(started) < len(limits_s):
            time.sleep(POLL_S)
    return {
        name: after if isinstance(after, StageError) else _observed(name, after)
        for name, after in started.items()
    }


def _observed(name: str, after_s: float) -> dict[str, Any] | StageError:
    """Return the hardware of an engine that runs, or why it runs no more."""
    # On a busy machine its first answer may take long; of one that died Ray says so at once.
    observed: dict[str, Any] | None = ask_engine(name, "observed", START_TIMEOUT_S)
    if observed is None:
        return StageError("the engine died when it had just started: it does not answer")
    return {**observed, "started_after_s": after_s}


def _quiet() -> Any:
    from ray.serve.schema import LoggingConfig

    return LoggingConfig(log_level="WARNING", enable_access_log=False)
