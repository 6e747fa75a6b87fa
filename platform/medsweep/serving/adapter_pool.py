"""Loads adapters on demand, and evicts the least recently used one to make room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from medsweep.clock import Clock
from medsweep.errors import InputError
from medsweep.finetune.adapter import Adapter, check_base, read_adapter
from medsweep.finetune.adapter_copy import check_regular
from medsweep.reporter import harmless
from medsweep.serving.adapter_source import AdapterEntry, AdapterSource
from medsweep.serving.api_errors import Refused
from medsweep.serving.protocol import Delta, Engine, Generation
from medsweep.serving.server_metrics import ServerMetrics

LOG = logging.getLogger("medsweep.serving")


@dataclass(eq=False)
class _Loaded:
    """One adapter that is in memory or being loaded.

    Attributes:
        inner: the engine's name for it.
        entry: its name and folder.
        users: number of requests that use it or wait for it; it is not unloaded before that is 0.
        leaving: it takes no new requests and is unloaded when its last user has finished.
        loading: task that loads it; fails with the reason.
    """

    inner: str
    entry: AdapterEntry
    users: int = 0
    leaving: bool = False
    loading: asyncio.Task[None] | None = None


class AdapterPool:
    """An engine whose adapters are loaded from a source on demand.

    A request holds its adapter from its arrival to the end of its answer. When the pool is full, it
    evicts the least recently used adapter, unused ones first. If all are in use, the least recently
    used one takes no new requests and is unloaded once its running requests have finished. The wait
    for a free place is therefore bounded, however busy the other adapters are.

    Attributes:
        base_folder: folder of the base model's weights; None for an engine without a model.

    Args:
        engine: an engine without adapters.
        source: finds adapters by name.
        base_folder: folder of the base model's weights; adapters of other weights are refused.
        max_loaded: most adapters in memory.
        metrics: counts loads and evictions.
        clock: times loads.
    """

    def __init__(
        self,
        engine: Engine,
        source: AdapterSource,
        base_folder: Path | None,
        *,
        max_loaded: int,
        metrics: ServerMetrics,
        clock: Clock,
    ) -> None:
        self.base_folder = base_folder
        self._engine, self._source, self._metrics, self._clock = engine, source, metrics, clock
        self._base = source.base
        self._warm = False
        self._max_loaded = max_loaded
        self._places = asyncio.Semaphore(max_loaded)
        self._known: OrderedDict[tuple[str, tuple[int, int]], _Loaded] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads = 0
        self._in_memory = 0

    def fault(self) -> str | None:
        """Return why the engine cannot answer now; None if it can."""
        return self._engine.fault()

    def details(self) -> dict[str, Any]:
        """Return the settings that the engine runs with."""
        return self._engine.details()

    async def models(self) -> list[str]:
        """Return the base model's name, then those of all adapters, loaded or not."""
        await asyncio.to_thread(self._source.scan)
        return [self._base, *self._source.names()]

    async def check(self) -> None:
        """Generate a token; the first time, load as many named adapters as there is room for.

        Raises:
            Refused: an adapter cannot be loaded.
            StageError: the engine does not generate.
        """
        if not self._warm:
            for name in self._source.named[: self._max_loaded]:
                async with self._use(name):
                    pass
            self._warm = True
        await self._engine.check()

    def close(self) -> None:
        """Stop the engine; unfinished requests fail."""
        self._engine.close()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer, after loading the adapter if necessary.

        Raises:
            UnknownName: there is no adapter of that name.
            Refused: the adapter cannot be loaded.
            InputError: log-probabilities of an engine that has none.
        """
        scored = request.logprobs is not None or request.echo
        if scored and not getattr(self._engine, "scores_tokens", False):
            raise InputError("logprobs and echo: this engine gives no log-probabilities")
        async with contextlib.AsyncExitStack() as stack:
            if request.model != self._base:
                request = replace(
                    request, model=await stack.enter_async_context(self._use(request.model))
                )
            deltas = cast("AsyncGenerator[Delta, None]", self._engine.stream(request))
            await stack.enter_async_context(contextlib.aclosing(deltas))
            async for delta in deltas:
                yield delta

    @asynccontextmanager
    async def _use(self, name: str) -> AsyncIterator[str]:
        """Hold an adapter, and yield the engine's name for it."""
        entry = await self._source.find(name)
        key = entry.name, entry.stamp
        loaded = self._known.get(key)
        if loaded is None:
            self._loads += 1
            loaded = _Loaded(f"{entry.name}#{self._loads}", entry)
            self._known[key] = loaded
            loaded.loading = self._start(self._load(loaded))
        self._known.move_to_end(key)
        loaded.users += 1
        try:
            # Shielded: a client that leaves must not cancel the load that others wait for.
            await asyncio.shield(loaded.loading or asyncio.sleep(0))
            yield loaded.inner
        finally:
            loaded.users -= 1
            self._unload_if_unused(loaded)

    async def _load(self, loaded: _Loaded) -> None:
        began_s = self._clock.now()
        if self._places.locked():
            self._make_room(loaded)
        await self._places.acquire()
        try:
            adapter = await asyncio.to_thread(self._read, loaded.entry)
            await self._engine.add_adapter(loaded.inner, adapter)
        except Exception as error:  # noqa: BLE001 any fault of one adapter must not stop the server
            self._places.release()
            self._forget(loaded)
            self._metrics.record("adapter_loads", 1, "failed")
            # Both may hold what a stranger wrote into a folder.
            LOG.error("adapter %s", harmless(f"{loaded.entry.name}: {error}"))
            raise Refused(
                500,
                "failed",
                f"adapter {loaded.entry.name!r} cannot be loaded; the server's log says why",
            ) from None
        self._count(+1)
        self._metrics.record("adapter_loads", 1, "ok")
        self._metrics.record("adapter_load_seconds", self._clock.now() - began_s)

    def _read(self, entry: AdapterEntry) -> Adapter:
        """Read an adapter and check that it was trained on the served base.

        Named folders are the operator's choice and may be links, such as into the hub's cache;
        folders below the root may not.
        """
        named = entry.name in self._source.named
        if not named:
            check_regular(entry.folder)
        adapter = read_adapter(entry.folder, links=named)
        if self.base_folder is not None:
            check_base(adapter, self.base_folder)
        return adapter

    def _make_room(self, newcomer: _Loaded) -> None:
        """Evict one adapter: the least recently used of those without users, else of all."""
        others = [loaded for loaded in self._known.values() if loaded is not newcomer]
        unused = [loaded for loaded in others if not loaded.users]
        for leaving in [*unused, *others][:1]:
            leaving.leaving = True
            self._forget(leaving)
            self._unload_if_unused(leaving)

    def _unload_if_unused(self, loaded: _Loaded) -> None:
        if loaded.leaving and not loaded.users:
            loaded.leaving = False  # so that it is unloaded only once
            self._start(self._unload(loaded))

    async def _unload(self, loaded: _Loaded) -> None:
        if loaded.loading is not None:
            await asyncio.wait({loaded.loading})
            if loaded.loading.cancelled() or loaded.loading.exception() is not None:
                return  # it was not loaded, and `_load` has released its place
        try:
            await self._engine.remove_adapter(loaded.inner)
        finally:
            self._places.release()
            self._count(-1)
            self._metrics.record("adapter_evictions", 1)

    def _forget(self, loaded: _Loaded) -> None:
        key = loaded.entry.name, loaded.entry.stamp
        if self._known.get(key) is loaded:
            del self._known[key]

    def _count(self, change: int) -> None:
        self._in_memory += change
        self._metrics.record("adapters_loaded", self._in_memory)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop keeps only weak references
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Refused):
            LOG.error("an adapter could not be unloaded: %s", type(error).__name__)
