"""The load itself: who sends when, and what each request counts as."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from typing import Literal

import aiohttp

from medsweep.clock import Clock
from medsweep.loadgen.arrivals import due_times
from medsweep.loadgen.client import open_session, send
from medsweep.loadgen.failures import Tally
from medsweep.loadgen.order import prompt_order
from medsweep.loadgen.pacing import sleep_until
from medsweep.loadgen.spec import LoadJob
from medsweep.metrics.definitions import RequestRecord


async def run_load(job: LoadJob, emit: Callable[[RequestRecord], None], clock: Clock) -> None:
    """Run one load point to its end.

    Warm-up, measured and cool-down requests follow each other without a pause: the server is
    never drained before the last measured request has ended. What is in flight then is awaited,
    so that the next load point finds an idle server.

    Args:
        job: what to send, where, and how hard to push.
        emit: called with each record as its request ends, in order of ending.
        clock: what everything is timed with.

    Raises:
        LoadAborted: too many requests failed; those in flight were dropped.
        StageError: the API key is not to be had.
    """
    async with open_session(job) as session:
        load = _Load(job, session, emit, clock)
        try:
            async with asyncio.TaskGroup() as group:
                if job.point.concurrency is not None:
                    load.start_workers(group, job.point.concurrency)
                else:
                    await load.dispatch_until_measured(group)
        except ExceptionGroup as errors:
            # The first error ended the load and the others followed from it.
            raise errors.exceptions[0] from None


class _Load:
    def __init__(
        self,
        job: LoadJob,
        session: aiohttp.ClientSession,
        emit: Callable[[RequestRecord], None],
        clock: Clock,
    ) -> None:
        self._job, self._session, self._emit, self._clock = job, session, emit, clock
        self._prompts = prompt_order(job.prompts, job.point.warmup_requests, job.seed)
        self._indices = itertools.count()
        self._tally = Tally(job.max_error_rate)
        self._unmeasured = job.point.requests
        self._measured = asyncio.Event()

    def start_workers(self, group: asyncio.TaskGroup, concurrency: int) -> None:
        for _ in range(concurrency):
            group.create_task(self._work())

    async def _work(self) -> None:
        while not self._measured.is_set():
            await self._request(due_s=None)

    async def dispatch_until_measured(self, group: asyncio.TaskGroup) -> None:
        dispatcher = group.create_task(self._dispatch(group))
        await self._measured.wait()
        dispatcher.cancel()

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        point, start_s = self._job.point, self._clock.now()
        # The last measured request ends within its time-out; arrivals for twice that time outlast
        # it for Poisson gaps too.
        cooldown = math.ceil(2 * (point.rate or 0) * self._job.timeout_s)
        count = point.warmup_requests + point.requests + cooldown
        for offset_s in due_times(point, count, self._job.seed).tolist():
            await sleep_until(self._clock, start_s + offset_s)
            group.create_task(self._request(due_s=start_s + offset_s))

    async def _request(self, due_s: float | None) -> None:
        index = next(self._indices)
        phase = self._phase(index)
        record = await send(
            self._session,
            self._job,
            next(self._prompts),
            index=index,
            phase=phase,
            due_s=due_s,
            clock=self._clock,
        )
        self._emit(record)
        self._tally.count(record.status)
        if phase == "measure":
            self._unmeasured -= 1
            if self._unmeasured == 0:
                self._measured.set()

    def _phase(self, index: int) -> Literal["warmup", "measure", "cooldown"]:
        if index < self._job.point.warmup_requests:
            return "warmup"
        if index < self._job.point.warmup_requests + self._job.point.requests:
            return "measure"
        return "cooldown"
