import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from medsweep.loadgen.bench import Bench, MeasuredPoint
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.find_max import (
    HighestRate,
    Outcome,
    find_highest_rate,
    find_max,
    outcome_of,
)
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.objective import parse_objective
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.latency import LatencySummary


@pytest.mark.parametrize("capacity", [0.017, 0.9, 1.0, 37.0, 5000.0])
@pytest.mark.parametrize("start", [1.0, 40.0])
def test_finds_the_capacity(capacity: float, start: float) -> None:
    tried: list[float] = []

    def outcome(rate: float) -> Outcome:
        tried.append(rate)
        return "met" if rate <= capacity else "missed"

    found = find_max(outcome, start_rps=start, lowest_rps=lambda: 0.001)
    assert found.rate_rps is not None
    assert found.missed_rps is not None
    assert found.rate_rps <= capacity < found.missed_rps <= found.rate_rps * 1.05
    assert found.undecided_rps is None
    assert len(tried) == len(set(tried)) < 24


@pytest.mark.parametrize("late_from", [7.9, 9.5, 30.0])
def test_a_rate_that_the_client_cannot_send_is_not_held_against_the_server(
    late_from: float,
) -> None:
    """The server meets 11.1 requests/s; the client is late from `late_from`."""
    found = find_max(
        lambda rate: "undecided" if rate >= late_from else "met" if rate <= 11.1 else "missed",
        start_rps=6.0,
        lowest_rps=lambda: 0.1,
    )
    least = min(late_from, 11.1)
    assert found.rate_rps is not None
    assert least / 1.05 <= found.rate_rps <= least
    if late_from > 11.1:
        assert found.undecided_rps is None
        assert found.missed_rps is not None
        assert 11.1 < found.missed_rps <= found.rate_rps * 1.05
    else:
        assert found.missed_rps is None
        assert found.undecided_rps is not None
        assert late_from <= found.undecided_rps <= found.rate_rps * 1.05


def test_nothing_meets_and_everything_does() -> None:
    tried: list[float] = []

    def never(rate: float) -> Outcome:
        tried.append(rate)
        return "missed"

    # Below the lowest each request has the server to itself; slower and slower would take hours.
    assert find_max(never, start_rps=20.0, lowest_rps=lambda: 3.0) == HighestRate(None, 5.0)
    assert tried == [20.0, 10.0, 5.0]
    assert find_max(never, start_rps=1.0, lowest_rps=lambda: 3.0) == HighestRate(None, 1.0)
    found = find_max(lambda _: "met", start_rps=1.0, lowest_rps=lambda: 0.1)
    assert found.rate_rps == pytest.approx(1e5, rel=1)
    assert found.missed_rps is None
    late = find_max(lambda _: "undecided", start_rps=20.0, lowest_rps=lambda: 3.0)
    assert late == HighestRate(undecided_rps=0.625)  # 3 / 8 is between it and its half


def test_what_is_learnt_on_the_way_ends_a_hopeless_search() -> None:
    """One slot of 0.5 s: eight at a time suggest that an answer takes 4 s."""
    tried: list[float] = []

    def never(rate: float) -> Outcome:
        tried.append(rate)
        return "missed"

    found = find_max(never, start_rps=2.0, lowest_rps=lambda: 1.0 if len(tried) > 1 else 0.1)
    assert (found, tried) == (HighestRate(None, 1.0), [2.0, 1.0])


@pytest.mark.parametrize(
    ("gone_at", "rate", "missed"), [(1, None, None), (2, 4.0, None), (4, 8.0, 16.0)]
)
def test_a_server_that_is_gone_ends_the_search(
    gone_at: int, rate: float | None, missed: float | None
) -> None:
    outcomes: list[Outcome] = ["met", "met", "missed"]
    answers = iter([*outcomes[: gone_at - 1], "gone"])
    found = find_max(lambda _: next(answers), start_rps=4.0, lowest_rps=lambda: 0.1)
    assert found == HighestRate(rate, missed, gone=True)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (HighestRate(), "no answers to begin with"),
        (HighestRate(7.48), "7.48 requests/s meet slo, and so may more"),
        (HighestRate(7.48, 7.82), "7.48 requests/s meet slo; 7.82 do not"),
        (HighestRate(7.48, None, 7.82), "meet slo; not decided above 7.48: the client could not"),
        (HighestRate(7.48, 16.0, 7.82), "meet slo; 16 do not; not decided above 7.48: the client"),
        (HighestRate(None, None, 2.0), "is not decided: the client could not send 2 requests/s"),
        (HighestRate(None, 2.0), "not even 2 requests/s meet slo"),
        (HighestRate(2.0, gone=True), "no longer answers; 2 requests/s met slo before"),
    ],
)
def test_the_result_in_words(found: HighestRate, words: str) -> None:
    assert words in found.sentence("slo")


@pytest.mark.parametrize(
    ("changes", "delay_s", "growth", "outcome"),
    [
        ({"met": True}, 0.001, None, "met"),
        ({"met": False}, 0.001, None, "missed"),
        ({"met": True}, 0.001, 0.1, "missed"),
        ({"met": False}, 0.0079, None, "undecided"),  # 7.9 ms late, beside a TTFT of 60 ms
        ({"met": True}, 0.0079, 0.1, "undecided"),
        ({"met": None, "met_reason": "too few"}, 0.001, None, "undecided"),
    ],
)
def test_outcome_of_one_rate(
    changes: dict[str, object], delay_s: float, growth: float | None, outcome: Outcome
) -> None:
    point = LoadPoint(rate=8.0)
    nothing = figures_of([], point)
    means = {"ttft": 0.060, "dispatch_delay": delay_s}
    latencies = {
        name: LatencySummary(100, mean, None, None, None, None, None)
        for name, mean in means.items()
    }
    figures = replace(nothing, ok=100, latencies={**nothing.latencies, **latencies}, growth=growth)
    assert outcome_of(MeasuredPoint(point, 1, figures, **changes)) == outcome
    gone = MeasuredPoint(point, 1, nothing, "refused", True, False)
    assert outcome_of(gone) == "gone"


class SimulatedBench(Bench):
    """A server of 11.1 requests/s whose answers take 60 ms; the client is late from a rate on."""

    late_from = float("inf")

    def measure(
        self, point: LoadPoint, repeat: int = 1, *, hopeless_ends: bool = False
    ) -> MeasuredPoint:
        rate = point.rate or 11.1  # a closed loop runs at capacity
        means = {"ttft": 0.060, "e2e": 0.060, "dispatch_delay": 0.0}
        if rate >= self.late_from:
            means["dispatch_delay"] = 0.0079
        nothing = figures_of([], point)
        latencies = {
            name: LatencySummary(100, mean, None, None, None, None, None)
            for name, mean in means.items()
        }
        figures = replace(
            nothing, ok=100, latencies={**nothing.latencies, **latencies}, requests_per_s=rate
        )
        met = rate <= 11.1 and rate < self.late_from
        self.measured.append(MeasuredPoint(point, repeat, figures, met=met))
        return self.measured[-1]


@pytest.mark.parametrize("late_from", [7.7, float("inf")])
def test_the_search_takes_enough_requests_and_knows_whose_the_limit_is(
    make_job: Callable[..., LoadJob], late_from: float
) -> None:
    with Fleet(1) as fleet:
        bench = SimulatedBench(
            make_job("http://unused/v1"), fleet, [parse_objective("ttft_p99=1s")]
        )
    bench.late_from = late_from
    found = find_highest_rate(bench, LoadPoint(rate=1.0))
    least = min(late_from, 11.1)
    assert found.rate_rps is not None
    assert least / 1.05 <= found.rate_rps <= least
    assert (found.undecided_rps is None) == (late_from > 11.1)
    start, *tried = [each.point for each in bench.measured]
    assert (start.concurrency, start.requests) == (8, 64)
    # p99 needs 662 requests; ten seconds at up to 23 requests/s are fewer.
    assert {each.requests for each in tried} == {662}
    assert all(each.warmup == math.ceil(each.rate or 0.0) for each in tried)
    few = find_highest_rate(bench, LoadPoint(rate=1.0), requests=70)
    assert few == found


def test_the_search_finds_the_capacity_of_a_server(
    virtual_fleet: Callable[[MockTiming], Fleet], make_job: Callable[..., LoadJob]
) -> None:
    """Two slots of 50 ms answer 40 requests per second."""
    fleet = virtual_fleet(MockTiming(ttft_s=0.05, tokens=1, slots=2))
    bench = Bench(make_job("http://unused/v1"), fleet, [parse_objective("ttft_p90=0.2s")])
    highest = find_highest_rate(bench, LoadPoint(rate=1.0), requests=70)
    assert highest.rate_rps is not None
    assert highest.missed_rps is not None
    # Of 70 requests few enough wait too long at a rate that is a little over the capacity.
    assert 38 < highest.rate_rps < highest.missed_rps < 45
    assert highest.missed_rps / highest.rate_rps <= 1.05
    assert highest.undecided_rps is None
    early = [each.ended_early for each in bench.measured if each.ended_early]
    assert early
    assert all("ttft_p90=0.2s cannot be met" in each for each in early)
