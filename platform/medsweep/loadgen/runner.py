"""One load point while it runs: when each request is sent, and which phase it belongs to."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from medsweep.clock import Clock
from medsweep.loadgen.client import LoadClient
from medsweep.loadgen.failures import FailureTally, LoadAborted, RequestError
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.schedule import due_times, prompt_order
from medsweep.loadgen.spec import LoadJob, Prompt
from medsweep.loadgen.stream import Stream
from medsweep.metrics.request_record import Phase, RequestRecord

# A backlog of answers is parsed over about this many turns of the event loop.
_TURNS = 64
Ended = tuple[Stream, RequestError | None, float]


async def run_load(
    job: LoadJob, emit: Callable[[RequestRecord], None], clock: Clock, load: Load | None = None
) -> None:
    """Run one load point to its end.

    Warm-up, measured and cool-down requests follow each other without a pause: the server is
    never drained before the last measured request has ended. What is in flight then is awaited,
    so that the next load point finds an idle server.

    Args:
        job: what to send, where, and how hard to push.
        emit: called with each record soon after its request ends, in order of ending.
        clock: what everything is timed with.
        load: made from the same job, emit and clock, to watch or stop it; None makes one.

    Raises:
        LoadAborted: too many requests failed; those in flight were dropped.
        StageError: the environment variable for the API key is not set.
    """
    load = load or Load(job, emit, clock)
    async with LoadClient(job, clock) as client:
        try:
            async with asyncio.TaskGroup() as group:
                await load.run(client, group)
        except ExceptionGroup as errors:
            # The first error ended the load and the others followed from it.
            raise errors.exceptions[0] from None
        finally:
            load.take_rest()


class Load:
    """One load point while it runs.

    Args:
        job: what to send.
        emit: called with each record.
        clock: what everything is timed with.

    Attributes:
        measured: set when the last measured request has ended.
        started_s: when it began to send, in seconds on the clock; None before.
    """

    def __init__(self, job: LoadJob, emit: Callable[[RequestRecord], None], clock: Clock) -> None:
        self._job, self._emit, self._clock = job, emit, clock
        point = job.point
        self._indices = itertools.count(job.shard, job.shards)
        self._prompts = _every(
            prompt_order(job.prompts, point.warmup_requests, job.seed), job.shard, job.shards
        )
        self._tally = FailureTally(job.max_error_rate)
        count = point.measured_requests
        self._unmeasured = None if count is None else len(_own(job, count))
        self._until_s: float | None = None
        self._in_flight: set[Stream] = set()
        self._ended: deque[Ended] = deque()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missed = [0] * len(job.objectives)
        self._ttfts, self._ttft_total_s = 0, 0.0
        self.measured = asyncio.Event()
        self.started_s: float | None = None

    def stop(self, *, drop: bool = False) -> None:
        """Send nothing more.

        Args:
            drop: give up requests in flight too.
        """
        if self._over.done():
            return
        if drop:
            self._over.set_exception(LoadAborted("stopped"))
        else:
            self._over.set_result(None)

    async def run(self, client: LoadClient, group: asyncio.TaskGroup) -> None:
        """Send until the measured requests have ended, and in a split load until `stop`."""
        point = self._job.point
        start_s = self._clock.now() if self._job.start_s is None else self._job.start_s
        senders = []
        await sleep_until(self._clock, start_s)
        self.started_s = self._clock.now()
        if self._unmeasured == 0:
            self._all_measured()
        if point.concurrency is not None:
            workers = len(range(self._job.shard, point.concurrency, self._job.shards))
            for _ in range(workers):
                group.create_task(self._work(client))
        else:
            senders.append(group.create_task(self._dispatch(client, group, start_s)))
        await self._over
        for sender in senders:
            sender.cancel()

    async def _work(self, client: LoadClient) -> None:
        while not self._over.done():
            await self._request(client, next(self._indices), next(self._prompts), due_s=None)

    async def _dispatch(self, client: LoadClient, group: asyncio.TaskGroup, start_s: float) -> None:
        for offset_s in _every(
            due_times(self._job.point, self._job.seed), self._job.shard, self._job.shards
        ):
            due_s = start_s + offset_s
            await sleep_until(self._clock, due_s)
            index, prompt = next(self._indices), next(self._prompts)
            group.create_task(self._request(client, index, prompt, due_s))

    async def _request(
        self, client: LoadClient, index: int, prompt: Prompt, due_s: float | None
    ) -> None:
        sent_s = self._clock.now()
        phase = self._phase(index, sent_s if due_s is None else due_s)
        stream = Stream(index, phase, prompt, due_s, sent_s)
        self._in_flight.add(stream)
        failure, end_s = await client.send(prompt, stream)
        # The next request of a closed loop leaves before this answer is parsed.
        self._ended.append((stream, failure, end_s))
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_soon(self._take_ended)

    def _take_ended(self) -> None:
        """Parse some of the answers that have ended, and leave the rest to the next turn."""
        if not self._ended:
            return
        # At least one, and a share of the backlog, so that it cannot grow without bound. The share
        # is small, since chunks that come meanwhile are stamped late.
        try:
            for _ in range(1 + len(self._ended) // _TURNS):
                self._take(*self._ended.popleft())
        except Exception as error:
            # Nothing awaits this callback; if not passed on, the load would run for ever.
            if not self._over.done():
                self._over.set_exception(error)
            raise
        if self._ended:
            asyncio.get_running_loop().call_soon(self._take_ended)

    def take_rest(self) -> None:
        """Parse and emit what has ended and was left for later."""
        while self._ended:
            self._take(*self._ended.popleft())

    def _take(self, stream: Stream, failure: RequestError | None, end_s: float) -> None:
        self._in_flight.discard(stream)
        record = stream.record(failure, end_s, keep_text=self._job.keep_text)
        self._emit(record)
        try:
            self._tally.count(record.status)
        except LoadAborted as error:
            if not self._over.done():
                self._over.set_exception(error)
        if stream.phase == "measure":
            for place, objective in enumerate(self._job.objectives):
                self._missed[place] += objective.met_by(record) is False
            if record.ttft_s is not None:
                self._ttfts += 1
                self._ttft_total_s += record.ttft_s
            if self._unmeasured is not None:
                self._unmeasured -= 1
            self._check_measured()

    def _check_measured(self) -> None:
        if self._unmeasured is None:
            ended = self._until_s is not None and self._clock.now() >= self._until_s
            over = ended and not any(each.phase == "measure" for each in self._in_flight)
        else:
            over = self._unmeasured == 0
        if over:
            self._all_measured()

    def _all_measured(self) -> None:
        self.measured.set()
        if self._job.shards == 1:
            self.stop()

    def _phase(self, index: int, at_s: float) -> Phase:
        point = self._job.point
        if index < point.warmup_requests:
            return "warmup"
        if point.duration_s is None:
            count = point.measured_requests or 0
            return "measure" if index < point.warmup_requests + count else "cooldown"
        if self._until_s is None:
            self._until_s = at_s + point.duration_s
            # Nothing may be in flight by then whose end would be noticed.
            asyncio.get_running_loop().call_later(point.duration_s + 0.002, self._check_measured)
        return "measure" if at_s < self._until_s else "cooldown"

    def progress(self) -> dict[str, Any]:
        """Return counts so far: of all phases by status, in flight, and by objective those missed.

        With them the number of measured requests that have a TTFT, and its sum in seconds.

        A measured request in flight has missed an objective once it has taken too long for it.
        """
        now_s = self._clock.now()
        missed = [
            count + sum(_must_miss(stream, objective, now_s) for stream in self._in_flight)
            for count, objective in zip(self._missed, self._job.objectives, strict=True)
        ]
        return {
            "by_status": dict(self._tally.by_status),
            "in_flight": len(self._in_flight),
            "missed": missed,
            "ttfts": self._ttfts,
            "ttft_total_s": self._ttft_total_s,
        }


def _must_miss(stream: Stream, objective: Objective, now_s: float) -> bool:
    if stream.phase != "measure" or now_s - stream.start_s <= objective.limit_s:
        return False
    return objective.latency == "e2e" or (objective.latency == "ttft" and not stream.began())


def _every(values: Iterator[Any], first: int, step: int) -> Iterator[Any]:
    return itertools.islice(values, first, None, step)


def _own(job: LoadJob, count: int) -> range:
    """Return the places, among the measured requests, of those that are this shard's."""
    first = (job.shard - job.point.warmup_requests) % job.shards
    return range(first, count, job.shards)


async def sleep_until(clock: Clock, at_s: float) -> None:
    """Wait until `clock` reads at least `at_s` seconds; give way once even if it already does."""
    while True:
        await asyncio.sleep(max(0.0, at_s - clock.now()))
        # uvloop counts whole milliseconds and wakes up to one early; a request sent early would
        # have a negative dispatch delay.
        if clock.now() >= at_s:
            return
