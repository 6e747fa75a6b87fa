"""An engine in another process, reached through Ray Serve's handle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from medsweep.serving.protocol import Delta, Generation

TRIES = 2
"""Attempts per request: it is sent again once if its replica died before the first token. Not more
often, because the request itself may kill replicas."""


def ask_engine(name: str, method: str, timeout_s: float) -> Any:
    """Return what a method of an application's engine returns; None if it does not answer.

    Args:
        name: of the Ray Serve application.
        method: of `EngineReplica`, without arguments; it returns something else than None.
        timeout_s: how long to wait for the answer, in seconds.
    """
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        return getattr(serve.get_app_handle(name), method).remote().result(timeout_s=timeout_s)
    except (RayError, RayServeException, TimeoutError):
        return None


class RemoteEngine:
    """The half of an engine that an ingress needs.

    Args:
        handle: Ray Serve's handle of the engine's deployment.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._streaming = handle.options(stream=True)

    async def models(self) -> list[str]:
        """Return every name that requests may use."""
        names: list[str] = await self._handle.models.remote()
        return names

    async def check(self) -> None:
        """Generate one token."""
        await self._handle.check_health.remote()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer; cancel it when the iterator is closed."""
        from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

        for attempt in range(1, TRIES + 1):
            response = self._streaming.stream.remote(request)
            begun = False
            try:
                async for delta in response:
                    begun = True
                    yield delta
                return
            except (ActorDiedError, ActorUnavailableError):
                if begun or attempt == TRIES:
                    raise
            except RayTaskError as error:
                raise error.cause or error from None
            finally:
                response.cancel()
