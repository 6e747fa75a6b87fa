"""OpenAI's routes as a deployment of Ray Serve, for one engine or several."""

from __future__ import annotations

from typing import Any

from medsweep.errors import InputError, UnknownName
from medsweep.serving.admission import Limits
from medsweep.serving.middleware import KEY_VARIABLE, read_key, require_key
from medsweep.serving.ray.remote_engine import RemoteEngine
from medsweep.serving.server_metrics import (
    REQUEST_METRICS,
    PrometheusSink,
    RaySink,
    ServerMetrics,
)

_ON_HEAD = {"node:__internal_head__": 0.001}
"""A share of the resource that Ray gives to a cluster's head alone."""


class Ingress:
    """A replica with OpenAI's routes, limits and metrics, but without a model.

    Args:
        limits: limits of the server.
        engine: Ray Serve's handle of the only engine; then an API key is required and metrics are
            reported. None serves every application of a sweep under its name, on loopback.

    Raises:
        InputError: there is one engine, and no API key or a short one. It is required because
            other machines may reach Ray Serve's port.
    """

    def __init__(self, limits: Limits, engine: Any = None) -> None:
        self._limits, self._handle = limits, engine
        self._engines: dict[str, RemoteEngine] = {}
        self._key: str | None = None
        if engine is not None:
            self._engines[""] = RemoteEngine(engine)
            # From the replica's environment: an argument would be stored with the application.
            self._key = read_key(None)
            if self._key is None:
                raise InputError(f"{KEY_VARIABLE} is not set in the environment of the Ray node")
            require_key("Ray Serve", self._key)

    def __serve_build_asgi_app__(self) -> Any:
        from medsweep.serving.app import build_app

        if self._handle is None:
            return build_app(
                self._lookup, metrics=ServerMetrics([]), limits=self._limits, many=True
            )
        self._sink = PrometheusSink(REQUEST_METRICS)
        return build_app(
            self._lookup,
            metrics=ServerMetrics([self._sink, RaySink(REQUEST_METRICS)]),
            limits=self._limits,
            key=self._key,
            check=self._engines[""].check,
            fresh_s=0.0,  # the replica keeps its own tokens, and hears at once of a dead engine
            scrape=self._scrape,
        )

    async def _lookup(self, name: str) -> RemoteEngine:
        """Return an application's engine; it is cached once it has answered."""
        if name not in self._engines:
            from ray import serve
            from ray.serve.exceptions import RayServeException

            try:
                engine = RemoteEngine(serve.get_app_handle(name))
                await engine.models()
            except RayServeException:
                raise UnknownName("served cell", name, self._engines) from None
            self._engines[name] = engine
        return self._engines[name]

    async def _scrape(self) -> bytes:
        counted: bytes = await self._handle.scrape.remote()
        return self._sink.text() + counted


def ingress_application(
    limits: Limits, engine: Any = None, *, most_requests: int, **options: Any
) -> Any:
    """Return the Ray Serve application of an ingress.

    Args:
        limits: as in `Ingress`.
        engine: as in `Ingress`.
        most_requests: requests that Ray Serve admits, and as many that may wait. The server's
            own limit, which refuses in OpenAI's format, must be reached first.
        options: further options of the deployment.
    """
    from ray import serve

    deployment: Any = serve.deployment(
        name="Ingress",
        max_ongoing_requests=most_requests,
        max_queued_requests=most_requests,
        # The key is in the environment of a RayService's head alone, and a sweep stops the nodes
        # that its next batch does not need.
        ray_actor_options={"num_cpus": 0, "resources": _ON_HEAD},
        **options,
    )(serve.ingress()(Ingress))
    return deployment.bind(limits, engine)
