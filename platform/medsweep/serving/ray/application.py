"""The Ray Serve application of one served base, for `serve.run` or a RayService manifest.

It is the same server as without Ray, but the ingress reaches the engine through a handle.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from medsweep.cluster.emulation import on_emulated_node
from medsweep.hardware.nvidia import require_gpus
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.models.spec import ModelSpec
from medsweep.models.weights import Weights
from medsweep.serving.config import ServeConfig
from medsweep.serving.health import TIMEOUT_S
from medsweep.serving.protocol import EngineSettings
from medsweep.serving.ray.ingress import ingress_application
from medsweep.serving.ray.replica import EngineReplica
from medsweep.serving.service import resolve_settings
from medsweep.table import NamedTable

SPARE_CALLS = 16
"""Further concurrent calls of a replica, for health, names and metrics; without them, a full server
would fail its health checks."""


def build_application(
    config: ServeConfig,
    profile: HardwareProfile | None,
    models: NamedTable[ModelSpec] = MODELS,
    weights: Weights | None = None,
) -> Any:
    """Return the application.

    Args:
        config: what to serve.
        profile: its labels select the engine's node, and its CPUs and GPUs are reserved there; None
            reserves one CPU on any node.
        models: the base models that can be served; a sweep's catalogue has its own ones, too.
        weights: of the base model, as in `resolve_settings`.
    """
    from ray import serve

    limits = config.limits
    drained: dict[str, Any] = {
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": limits.timeout_s,
    }
    engine = serve.deployment(
        name="Engine",
        max_ongoing_requests=limits.max_concurrent + SPARE_CALLS,
        max_queued_requests=limits.max_queued + SPARE_CALLS,
        health_check_timeout_s=2 * TIMEOUT_S,
        ray_actor_options={"num_cpus": 1} if profile is None else node_of(profile),
        **drained,
    )(EngineReplica).bind(partial(_settings_on, profile, config, models, weights), pool=config)
    most_requests = limits.max_concurrent + limits.max_queued + SPARE_CALLS
    return ingress_application(limits, engine, most_requests=most_requests, **drained)


def _settings_on(
    profile: HardwareProfile | None,
    config: ServeConfig,
    models: NamedTable[ModelSpec],
    weights: Weights | None,
) -> EngineSettings:
    """Return the engine's settings on its node, which has the GPUs that were reserved there."""
    if profile is not None and not on_emulated_node():
        require_gpus(profile)
    return resolve_settings(config, models, weights)


def node_of(profile: HardwareProfile) -> dict[str, Any]:
    """Return the options of an actor on a profile's node."""
    return {
        "num_cpus": profile.cpus,
        # Ray hides a node's GPUs from actors that do not request them.
        "num_gpus": profile.gpus,
        "label_selector": profile.labels,
    }
