"""A server's limits, and the queue that enforces them."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pydantic import Field

from medsweep.clock import Clock
from medsweep.config import Closed
from medsweep.serving.api_errors import Refused
from medsweep.serving.server_metrics import ServerMetrics

LONGEST_RETRY_S = 60


class Limits(Closed):
    """Limits of one server.

    Attributes:
        max_concurrent: most requests that run at a time.
        max_queued: most requests that wait; further ones are refused with 429.
        timeout_s: longest time of a request, waiting included, in seconds; then 408.
        max_prompt_tokens: most prompt tokens; None: only the model's context limits them.
        max_output_tokens: most output tokens that a request may ask for.
        max_body_bytes: longest request body; a longer one is refused with 413.
        body_timeout_s: longest time for a request's headers, and for its body, to arrive.
        max_headers: most headers of a request; more are refused with 431.
    """

    max_concurrent: int = Field(default=64, ge=1)
    max_queued: int = Field(default=256, ge=0)
    timeout_s: float = Field(default=300.0, gt=0)
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    max_output_tokens: int = Field(default=4096, ge=1)
    max_body_bytes: int = Field(default=2**20, ge=1)
    body_timeout_s: float = Field(default=10.0, gt=0)
    max_headers: int = Field(default=100, ge=1)


class Admission:
    """Admits at most `max_concurrent` requests, first come first served; `max_queued` may wait.

    Args:
        limits: `max_concurrent` and `max_queued` are used.
        clock: times the requests, for the Retry-After header of refusals.
        metrics: receives the numbers of running and waiting requests.
    """

    def __init__(self, limits: Limits, clock: Clock, metrics: ServerMetrics) -> None:
        self._limits, self._clock, self._metrics = limits, clock, metrics
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_s = 1.0
        self.running = 0

    @property
    def queued(self) -> int:
        """Number of waiting requests."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        Raises:
            Refused: the queue is full.
        """
        await self._enter()
        self._report()
        began_s = self._clock.now()
        try:
            yield
        finally:
            self._mean_s += 0.1 * (self._clock.now() - began_s - self._mean_s)
            self._leave()
            self._report()

    async def _enter(self) -> None:
        if self.running < self._limits.max_concurrent:
            self.running += 1
            return
        if self.queued >= self._limits.max_queued:
            raise Refused(
                429,
                "queue_full",
                f"{self.running} requests are running and {self.queued} wait; try again later",
                code="server_overloaded",
                headers={"retry-after": str(self._retry_after_s())},
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._report()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the slot was assigned at the same moment
            else:
                with suppress(ValueError):  # `_leave` has skipped and removed it
                    self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        """Give the slot to the request that has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

    def _report(self) -> None:
        self._metrics.record("running", self.running)
        self._metrics.record("queued", self.queued)

    def _retry_after_s(self) -> int:
        """Estimate when half of the waiting requests will have been answered, in seconds."""
        rounds = (self.queued / 2 + 1) / self._limits.max_concurrent
        return min(LONGEST_RETRY_S, max(1, math.ceil(self._mean_s * rounds)))
