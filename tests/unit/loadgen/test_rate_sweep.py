"""The loads of `--sweep`, on a server of which the throughput is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from medsweep.loadgen.bench import MeasuredPoint
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.rate_sweep import sweep_rates
from medsweep.loadgen.spec import LoadPoint

FIRST = LoadPoint(rate=1.0, arrivals="poisson")


class Slots:
    """A server with so many slots and 0.5 s for an answer; stands in for a load test."""

    def __init__(self, slots: int, *, gives_up: bool = False) -> None:
        self.slots, self.gives_up = slots, gives_up
        self.calibrated: list[str] = []

    def calibrate_before(self, points: Iterable[LoadPoint]) -> None:
        self.calibrated += [point.name for point in points]

    def measure(self, point: LoadPoint) -> MeasuredPoint:
        most = self.slots / 0.5
        rate = point.rate or min((point.concurrency or 1) / 0.5, most)
        figures = replace(figures_of([], point), requests_per_s=None if self.gives_up else rate)
        return MeasuredPoint(point, 1, figures, gave_up=self.gives_up)


def test_loops_grow_until_the_throughput_does_not_and_rates_follow() -> None:
    server, seen = Slots(10), []
    highest = sweep_rates(server, FIRST, 20, lambda each: seen.append(each.point))  # type: ignore[arg-type]
    assert highest == 20.0
    loops = [point.concurrency for point in seen if point.concurrency]
    # 2, 8 and 20 requests per second; 64 in flight are no faster than 16.
    assert loops == [1, 4, 16, 64]
    rates = [point for point in seen if point.rate]
    assert [point.rate for point in rates] == [4.0, 8.0, 12.0, 16.0, 19.0]
    assert {point.arrivals for point in rates} == {"poisson"}
    assert server.calibrated == [point.name for point in seen]


def test_a_server_that_answers_nothing_has_no_rates() -> None:
    seen: list[MeasuredPoint] = []
    assert sweep_rates(Slots(1, gives_up=True), FIRST, 20, seen.append) is None  # type: ignore[arg-type]
    assert len(seen) == 1


@pytest.mark.parametrize(("requests", "count"), [(None, 64), (7, 7)])
def test_the_number_of_requests_is_the_one_given(requests: int | None, count: int) -> None:
    seen: list[MeasuredPoint] = []
    sweep_rates(Slots(1), FIRST, requests, seen.append)  # type: ignore[arg-type]
    assert seen[0].point.requests == count
