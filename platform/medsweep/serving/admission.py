"""How much one server takes on at a time, and the queue that keeps to it."""

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
    """Bounds of one server.

    Attributes:
        max_concurrent: requests that are answered at one time.
        max_queued: requests that may wait for that; one more is refused with 429.
        timeout_s: longest time of a request, waiting and answering, in seconds; then 408.
        max_prompt_tokens: longest prompt; none but the model's context if not given.
        max_output_tokens: longest answer that a request may ask for.
        max_body_bytes: longest request body; a longer one is refused with 413.
        body_timeout_s: longest time that a request's headers or its body may take to come.
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
    """Lets so many requests in at a time, first come first served, and so many wait.

    Args:
        limits: `max_concurrent` and `max_queued`.
        clock: times the requests, to say how long a refused one should stay away.
        metrics: is told how many run and wait.
    """

    def __init__(self, limits: Limits, clock: Clock, metrics: ServerMetrics) -> None:
        self._limits, self._clock, self._metrics = limits, clock, metrics
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_s = 1.0
        self.running = 0

    @property
    def queued(self) -> int:
        """Requests that wait now."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places.

        Raises:
            Refused: as many wait as may.
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
                f"{self.running} requests are being answered and {self.queued} wait; try later",
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
                self._leave()  # the place was given in the same moment
            else:
                with suppress(ValueError):  # its turn came and found it cancelled
                    self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        """Give the place to the one that has waited longest."""
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
        """When half of those that wait now will have been answered, in whole seconds."""
        waves = (self.queued / 2 + 1) / self._limits.max_concurrent
        return min(LONGEST_RETRY_S, max(1, math.ceil(self._mean_s * waves)))
