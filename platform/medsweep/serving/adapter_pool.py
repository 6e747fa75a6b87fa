"""Many adapters on one base in memory: so many at a time, the least recently used makes room."""

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
from medsweep.finetune.adapter import Adapter, check_base, check_regular, read_adapter
from medsweep.reporter import harmless
from medsweep.serving.adapter_source import AdapterEntry, AdapterSource
from medsweep.serving.api_errors import Refused
from medsweep.serving.protocol import Delta, Engine, Generation
from medsweep.serving.server_metrics import ServerMetrics

LOG = logging.getLogger("medsweep.serving")


@dataclass(eq=False)
class _Loaded:
    """One adapter in memory, or on its way there.

    Attributes:
        inner: the engine's name for it.
        shelved: what it is.
        users: requests that use it or wait for it; none is evicted while there is one.
        leaving: no new request gets it; it goes when its last user does.
        loading: done when it is there, or with the reason why not.
    """

    inner: str
    entry: AdapterEntry
    users: int = 0
    leaving: bool = False
    loading: asyncio.Task[None] | None = None


class AdapterPool:
    """An engine whose adapters come from a source as requests ask for them.

    A request holds its adapter from when it asks until its answer ends. Where all places are taken,
    the least recently used adapter makes room; one that nobody uses goes first. If every one is in
    use, the oldest takes no new requests and goes when those it has are answered, so that whoever
    waits for a place waits for a bounded time, however busy the others are.

    Args:
        engine: without adapters of its own.
        source: where adapters are.
        base_folder: of the base model's weights; an adapter of other weights is not loaded.
        max_loaded: adapters in memory at one time.
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
        self._base_folder = base_folder
        self._engine, self._source, self._metrics, self._clock = engine, source, metrics, clock
        self._base = source.base
        self._warm = False
        self._max_loaded = max_loaded
        self._places = asyncio.Semaphore(max_loaded)
        self._known: OrderedDict[tuple[str, tuple[int, int]], _Loaded] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loads = 0
        self._in_memory = 0

    async def models(self) -> list[str]:
        """Return the base model's name, then those of all adapters, loaded or not."""
        await asyncio.to_thread(self._source.look)
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
        """End the engine; answers that are not finished fail."""
        self._engine.close()

    async def stream(self, request: Generation) -> AsyncIterator[Delta]:
        """Yield the pieces of an answer, loading the adapter first if it is not there.

        Raises:
            UnknownName: there is no adapter of that name.
            Refused: the adapter cannot be loaded.
        """
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
        """Hold an adapter; give the engine's name for it."""
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
            # Shielded: a client that goes must not take the adapter from those who wait with it.
            await asyncio.shield(loaded.loading or asyncio.sleep(0))
            yield loaded.inner
        finally:
            loaded.users -= 1
            self._go_if_unused(loaded)

    async def _load(self, loaded: _Loaded) -> None:
        began_s = self._clock.now()
        if self._places.locked():
            self._make_room(loaded)
        await self._places.acquire()
        try:
            adapter = await asyncio.to_thread(self._read, loaded.entry)
            await self._engine.add_adapter(loaded.inner, adapter)
        except Exception as error:  # noqa: BLE001 whatever it is, the next one may be well
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
        """Read an adapter that was trained on the base that is served.

        The operator answers for the folders that are named, such as links into the hub's cache, but
        not for those below the root.
        """
        if entry.name not in self._source.named:
            check_regular(entry.folder)
        adapter = read_adapter(entry.folder)
        if self._base_folder is not None:
            check_base(adapter, self._base_folder)
        return adapter

    def _make_room(self, newcomer: _Loaded) -> None:
        """Have one adapter leave: the least recently used of those without users, else of all."""
        others = [loaded for loaded in self._known.values() if loaded is not newcomer]
        unused = [loaded for loaded in others if not loaded.users]
        for leaving in [*unused, *others][:1]:
            leaving.leaving = True
            self._forget(leaving)
            self._go_if_unused(leaving)

    def _go_if_unused(self, loaded: _Loaded) -> None:
        if loaded.leaving and not loaded.users:
            loaded.leaving = False  # once is enough
            self._start(self._unload(loaded))

    async def _unload(self, loaded: _Loaded) -> None:
        if loaded.loading is not None:
            await asyncio.wait({loaded.loading})
            if loaded.loading.cancelled() or loaded.loading.exception() is not None:
                return  # it never came, and has given its place back
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
            LOG.error("an adapter could not be put out of memory: %s", type(error).__name__)
