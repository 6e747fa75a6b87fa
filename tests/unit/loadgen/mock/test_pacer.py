import asyncio
from functools import partial

import pytest

from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.mock.pacer import Pacer


def test_calls_in_order_and_never_early(virtually) -> None:
    times_s = [0.5, 0.1, 0.1004, 0.1, 7.0, 0.1009, 0.25]

    async def main(clock: Clock) -> list[tuple[float, int, float]]:
        called: list[tuple[float, int, float]] = []
        pacer, start_s, done = Pacer(clock), clock.now(), asyncio.Event()

        def note(when_s: float, number: int) -> None:
            called.append((when_s, number, clock.now() - start_s))
            if len(called) == len(times_s):
                done.set()

        for number, when_s in enumerate(times_s):
            pacer.at(start_s + when_s, partial(note, when_s, number))
        await done.wait()
        return called

    called = virtually(main)
    assert [(when_s, number) for when_s, number, _ in called] == sorted(
        (when_s, number) for number, when_s in enumerate(times_s)
    )
    for when_s, _, at_s in called:
        # Few moments are waited for to the turn of the loop.
        assert 0 <= at_s - when_s < 0.0002


async def test_many_moments_are_late_by_a_timer_at_most() -> None:
    clock = MonotonicClock()
    pacer, start_s = Pacer(clock), clock.now()
    called: list[float] = []
    for k in range(200):
        when_s = start_s + 0.01 + k * 1e-4
        pacer.at(when_s, lambda when_s=when_s: called.append(clock.now() - when_s))
    async with asyncio.timeout(10):
        while len(called) < 200:
            await asyncio.sleep(0.001)
    assert min(called) >= 0
    assert sorted(called)[100] == pytest.approx(0.001, abs=0.02)
