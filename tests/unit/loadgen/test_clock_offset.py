import random

import pytest

from medsweep.clock import FakeClock
from medsweep.loadgen.clock_offset import (
    SAME_CLOCK,
    ClockOffset,
    Exchange,
    measure_offset,
    offset_of,
)


class Elsewhere:
    """A machine whose clock is ahead by a known time, behind a network of known delays.

    Args:
        clock: this machine's; moved by every exchange.
        ahead_s: how far the other clock is ahead at the clock's 0.
        delays_s: of the ways there and back, in turn.
        drift: seconds that the other clock gains per second.
    """

    def __init__(self, clock: FakeClock, ahead_s: float, delays_s, drift: float = 0.0) -> None:
        self._clock, self._ahead_s, self._drift = clock, ahead_s, drift
        self._delays_s = iter(delays_s)

    def now(self) -> float:
        return self._clock.now() * (1 + self._drift) + self._ahead_s

    def ask(self) -> tuple[float, float]:
        self._clock.advance(next(self._delays_s))
        received_s = self.now()
        self._clock.advance(0.0001)
        replied_s = self.now()
        self._clock.advance(next(self._delays_s))
        return received_s, replied_s


def test_equal_ways_show_the_offset_itself() -> None:
    clock = FakeClock(50.0)
    offset = measure_offset(Elsewhere(clock, 1234.5, [0.002] * 8).ask, clock, 4)
    assert offset.ahead_s == pytest.approx(1234.5, abs=1e-9)
    # Half of the way there and back.
    assert offset.error_of(offset.ahead_s) == pytest.approx(0.002, abs=1e-9)


def test_a_way_back_that_is_always_longer_is_within_the_error() -> None:
    """No exchange of time stamps can see this; the error must cover it."""
    clock = FakeClock(0.0)
    offset = measure_offset(Elsewhere(clock, -7.0, [0.001, 0.005] * 4).ask, clock, 4)
    assert offset.ahead_s == pytest.approx(-7.002)
    assert offset.error_of(offset.ahead_s) == pytest.approx(0.003)


def test_the_fastest_way_of_each_direction_counts() -> None:
    """The best way there and the best way back are of different exchanges."""
    clock = FakeClock(0.0)
    delays_s = [0.010, 0.001, 0.001, 0.010]
    offset = measure_offset(Elsewhere(clock, 3.0, delays_s).ask, clock, 2)
    assert offset.ahead_s == pytest.approx(3.0)
    assert offset.error_of(offset.ahead_s) == pytest.approx(0.001)


@pytest.mark.parametrize("ahead_s", [-86400.0, -0.5, 0.0, 0.003, 1e6])
def test_the_true_offset_is_always_within_the_error(ahead_s: float) -> None:
    rng = random.Random(7)
    for _ in range(200):
        clock = FakeClock(rng.uniform(0, 1000))
        delays_s = [rng.expovariate(1 / 0.002) for _ in range(32)]
        offset = measure_offset(Elsewhere(clock, ahead_s, delays_s).ask, clock, 16)
        assert offset.low_s - 1e-9 <= ahead_s <= offset.high_s + 1e-9


def test_drift_during_a_load_is_in_the_error_afterwards() -> None:
    clock = FakeClock(0.0)
    other = Elsewhere(clock, 10.0, [0.001] * 8, drift=50e-6)
    before = measure_offset(other.ask, clock, 2)
    clock.advance(100.0)  # 50 millionths of it are 5 ms
    error_s = measure_offset(other.ask, clock, 2).error_of(before.ahead_s)
    assert error_s == pytest.approx(0.005 + 0.001, abs=2e-5)


def test_bounds_that_cross_still_make_an_interval() -> None:
    crossed = [Exchange(0.0, 1.0, 1.0, 0.0), Exchange(0.0, 1.0 + 1e-6, 1.0 + 1e-6, 0.0)]
    offset = offset_of(crossed)
    assert offset.low_s <= offset.ahead_s <= offset.high_s
    assert offset.error_of(offset.ahead_s) == pytest.approx(0.5e-6, rel=0.01)


def test_one_machine_has_one_clock() -> None:
    assert (SAME_CLOCK.ahead_s, SAME_CLOCK.error_of(0.0)) == (0.0, 0.0)
    assert ClockOffset(1.0, 3.0).error_of(0.0) == 3.0
