import asyncio
from functools import partial

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


def test_many_moments_are_late_by_a_timer_at_most(virtually) -> None:
    late_s: list[float] = []

    async def main(clock: Clock) -> None:
        pacer, start_s = Pacer(clock), clock.now()
        for k in range(200):
            when_s = start_s + 0.01 + k * 1e-4
            pacer.at(when_s, lambda when_s=when_s: late_s.append(clock.now() - when_s))
        async with asyncio.timeout(10):
            while len(late_s) < 200:
                await asyncio.sleep(0.001)

    virtually(main)
    assert min(late_s) >= 0
    assert max(late_s) < 0.001


async def test_on_a_real_clock_no_moment_is_early() -> None:
    clock = MonotonicClock()
    pacer, start_s = Pacer(clock), clock.now()
    late_s: list[float] = []
    for k in range(200):
        when_s = start_s + 0.01 + k * 1e-4
        pacer.at(when_s, lambda when_s=when_s: late_s.append(clock.now() - when_s))
    async with asyncio.timeout(60):
        while len(late_s) < 200:
            await asyncio.sleep(0.001)
    assert min(late_s) >= 0
