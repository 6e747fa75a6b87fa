"""How far the clock of another machine is ahead of this one's, by exchanging time stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from medsweep.clock import Clock

EXCHANGES = 32
"""Time stamps that are exchanged for one estimate. The fastest ones bound it."""


@dataclass(frozen=True)
class Exchange:
    """One question to the other machine and its answer; all in seconds.

    Attributes:
        asked_s: when it was sent, on this machine's clock.
        received_s: when it arrived, on the other's.
        replied_s: when the reply left, on the other's.
        heard_s: when the reply arrived, on this machine's.
    """

    asked_s: float
    received_s: float
    replied_s: float
    heard_s: float


@dataclass(frozen=True)
class ClockOffset:
    """An interval that holds the true offset between two clocks.

    Attributes:
        low_s: the other clock is ahead by at least this, in seconds.
        high_s: and by at most this.
    """

    low_s: float
    high_s: float

    @property
    def ahead_s(self) -> float:
        """The estimate: the middle of the interval, in seconds."""
        return (self.low_s + self.high_s) / 2

    def error_of(self, ahead_s: float) -> float:
        """Return the greatest error of an estimate, such as an earlier one, in seconds."""
        return max(abs(self.high_s - ahead_s), abs(self.low_s - ahead_s))


SAME_CLOCK = ClockOffset(0.0, 0.0)


def offset_of(exchanges: Iterable[Exchange]) -> ClockOffset:
    """Return the offset that exchanges of time stamps allow.

    A message arrives after it was sent, so that each exchange bounds the offset from both sides
    (Mills, RFC 5905, section 8), however unlike the two ways are. All bounds hold together.

    Args:
        exchanges: at least one, from so short a time that neither clock drifts.
    """
    bounds = [(each.replied_s - each.heard_s, each.received_s - each.asked_s) for each in exchanges]
    low_s, high_s = max(low for low, _ in bounds), min(high for _, high in bounds)
    # Clocks that drift by microseconds meanwhile may cross bounds that are as narrow.
    return ClockOffset(min(low_s, high_s), max(low_s, high_s))


def measure_offset(
    ask: Callable[[], tuple[float, float]], clock: Clock, exchanges: int = EXCHANGES
) -> ClockOffset:
    """Measure how far another machine's clock is ahead.

    Args:
        ask: asks it for the time; returns when the question arrived there and when the reply left,
            in seconds on its clock.
        clock: this machine's.
        exchanges: number of questions.
    """

    def exchange() -> Exchange:
        asked_s = clock.now()
        received_s, replied_s = ask()
        return Exchange(asked_s, received_s, replied_s, clock.now())

    return offset_of(exchange() for _ in range(exchanges))
