"""The one clock that everything is timed with, and one that tests move by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock; the zero is arbitrary, only differences mean anything."""

    def now(self) -> float:
        """Return the time in seconds."""
        ...


class MonotonicClock:
    """The machine's monotonic clock (`time.perf_counter`), or another machine's read from it.

    Args:
        ahead_s: how far this machine's clock is ahead of the one to read, in seconds.
    """

    def __init__(self, ahead_s: float = 0.0) -> None:
        self._ahead_s = ahead_s

    def now(self) -> float:
        """Return the time in seconds."""
        return time.perf_counter() - self._ahead_s


class FakeClock:
    """A clock that stands still until it is moved.

    Args:
        start: first reading, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock on by `seconds`."""
        self._now += seconds
