"""Calling back at many moments, from one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from medsweep.clock import Clock

# Timers of the loop count whole milliseconds and may fire one early or late.
_GRAIN_S = 0.001
_FEW = 8


class Pacer:
    """Holds moments and what to do at each; never early, and as little late as possible.

    Args:
        clock: what the moments are on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._armed_s = float("inf")
        self._handle: asyncio.Handle | None = None

    def at(self, when_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` once `clock` reads `when_s` seconds; at one moment in order."""
        self._count += 1
        heapq.heappush(self._due, (when_s, self._count, callback))
        if when_s < self._armed_s:
            self._arm(when_s)

    def _tick(self) -> None:
        self._armed_s = float("inf")
        due, clock = self._due, self._clock
        # Only what is due now: what callbacks add for this very moment waits for the next turn.
        last = self._count
        now_s = clock.now()
        while due and due[0][0] <= now_s and due[0][1] <= last:
            heapq.heappop(due)[2]()
        if due:
            self._arm(due[0][0])

    def _arm(self, when_s: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_s = when_s
        left_s = when_s - self._clock.now()
        if left_s > 2 * _GRAIN_S:
            self._handle = self._loop.call_later(left_s - _GRAIN_S, self._tick)
        elif left_s <= 0 or len(self._due) <= _FEW:
            # With few moments to come, turning through the last millisecond costs little. With
            # many it would take the processor from the client under test.
            self._handle = self._loop.call_soon(self._tick)
        else:
            self._handle = self._loop.call_later(left_s, self._tick)
