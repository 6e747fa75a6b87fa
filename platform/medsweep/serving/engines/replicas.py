"""Several engines of one model behind one, each on a GPU of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from medsweep.finetune.adapter import Adapter
from medsweep.serving.protocol import Delta, Engine, EngineSettings, Generation


class ReplicatedEngine:
    """Gives each request to the replica that answers the fewest, of those that can answer now.

    Args:
        settings: of all replicas together.
        open_replica: opens an engine from the settings of one.
    """

    def __init__(
        self, settings: EngineSettings, open_replica: Callable[[EngineSettings], Engine]
    ) -> None:
        self._replicas: list[Engine] = []
        self._answering = [0] * settings.replicas
        try:
            for device in range(settings.replicas):
                self._replicas.append(open_replica(replace(settings, replicas=1, device=device)))
        except BaseException:
            self.close()
            raise

    def fault(self) -> str | None:
        """Return why one of the replicas cannot answer now; None if all can."""
        return next(filter(None, (replica.fault() for replica in self._replicas)), None)

    def details(self) -> dict[str, Any]:
        """Return the settings that the first replica runs with; the others have the same."""
        return self._replicas[0].details()

    @property
    def scores_tokens(self) -> bool:
        """Whether its replicas give log-probabilities."""
        return bool(getattr(self._replicas[0], "scores_tokens", False))

    async def models(self) -> list[str]:
        """Return the base model's name, then the adapters'; they are the same in all replicas."""
        return await self._replicas[0].models()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer of one replica.

        Raises:
            InputError, UnknownName: as the replica does.
        """
        # Requests to a broken replica end at once, so that it would have the fewest.
        load = [
            (replica.fault() is not None, answering)
            for replica, answering in zip(self._replicas, self._answering, strict=True)
        ]
        place = load.index(min(load))
        self._answering[place] += 1
        try:
            answer = self._replicas[place].stream(request)
            async with aclosing(cast("AsyncGenerator[Delta]", answer)) as pieces:
                async for delta in pieces:
                    yield delta
        finally:
            self._answering[place] -= 1

    async def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Add an adapter to all replicas; if one refuses it, none keeps it.

        Raises:
            InputError: the adapter is of another base model, or the name is the base's.
        """
        loads = [replica.add_adapter(name, adapter) for replica in self._replicas]
        results = await asyncio.gather(*loads, return_exceptions=True)
        faults = [result for result in results if isinstance(result, BaseException)]
        if faults:
            for replica, result in zip(self._replicas, results, strict=True):
                if result is None:
                    await replica.remove_adapter(name)
            raise faults[0]

    async def remove_adapter(self, name: str) -> None:
        """Remove an adapter from all replicas, once the requests that use it have finished.

        Raises:
            UnknownName: no adapter of that name is loaded.
        """
        await asyncio.gather(*(replica.remove_adapter(name) for replica in self._replicas))

    async def check(self) -> None:
        """Generate one token on every replica.

        Raises:
            StageError: one of them does not generate.
        """
        await asyncio.gather(*(replica.check() for replica in self._replicas))

    def close(self) -> None:
        """Stop all replicas; unfinished requests fail."""
        for replica in self._replicas:
            replica.close()
