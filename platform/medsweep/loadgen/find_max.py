"""The highest rate that meets the objectives of a load test, by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from medsweep.loadgen.bench import OPEN_LOOP_S, Bench, MeasuredPoint, enough_requests
from medsweep.loadgen.spec import LoadPoint

Outcome = Literal["met", "missed", "undecided", "gone"]
"""What one rate shows. `undecided`: the client set the figures; `gone`: no server answers."""

# The closed loop whose rate the search begins at.
_START_AT = 8
# A rate is tried for at least this many times the length of an answer.
_ANSWERS = 3
# Mean requests in flight below which each has the server to itself: lower rates change nothing.
_ALONE = 0.5
# A client that is late at this fraction of the lowest rate is late at any.
_LATE_BELOW = 8
# A search ends when the rates that meet and miss are within this ratio.
_CLOSE = 1.05
# Doubling gives up above this rate.
_HIGHEST_RPS = 1e5


@dataclass(frozen=True)
class HighestRate:
    """Result of a search, in requests per second.

    Attributes:
        rate_rps: the highest rate that meets the objectives; None if none does.
        missed_rps: the lowest rate that does not; None if the highest rate tried still does.
        undecided_rps: the lowest rate that the client could not send on time, if the search was
            stopped by it; nothing is known of the server from there up to `missed_rps`.
        gone: whether the server stopped answering, which ended the search.
    """

    rate_rps: float | None = None
    missed_rps: float | None = None
    undecided_rps: float | None = None
    gone: bool = False

    def sentence(self, names: str) -> str:
        """Return the result in words.

        Args:
            names: the objectives.
        """
        rate, missed, undecided = self.rate_rps, self.missed_rps, self.undecided_rps
        if self.gone:
            before = "" if rate is None else f"; {rate:.3g} requests/s met {names} before"
            return f"the search ended, since the server no longer answers{before}"
        if undecided is not None:
            late = f"the client could not send {undecided:.3g} requests/s on time"
            if rate is None:
                return f"whether any rate meets {names} is not decided: {late}"
            most = "" if missed is None else f"; {missed:.3g} do not"
            return f"{rate:.3g} requests/s meet {names}{most}; not decided above {rate:.3g}: {late}"
        if missed is None:
            return (
                f"no answers to begin with: {names} was not tried"
                if rate is None
                else f"{rate:.3g} requests/s meet {names}, and so may more"
            )
        if rate is None:
            return (
                f"not even {missed:.3g} requests/s meet {names}; a lower rate would not help, "
                "since each request already has the server to itself"
            )
        return f"{rate:.3g} requests/s meet {names}; {missed:.3g} do not"


def find_max(
    outcome: Callable[[float], Outcome],
    *,
    start_rps: float,
    lowest_rps: Callable[[], float],
) -> HighestRate:
    """Return the highest rate that meets the objectives and the lowest that does not.

    Doubles the rate until it misses, or halves it until it meets, then bisects on a logarithmic
    scale, since a capacity may be anything from one request per minute to thousands per second.
    A rate that is undecided bounds the search as one that misses does, but is not called one.

    Args:
        outcome: measures one rate, in requests per second; the search ends at `gone`.
        start_rps: the first rate to try.
        lowest_rps: the rate below which halving gives up where it missed, and below an eighth of
            which it does where it is undecided; asked again after each measurement.
    """
    rates: dict[Outcome, float] = {}
    highest: float | None = None
    bound: float | None = None
    result: Outcome | None = None
    rate = start_rps
    while rate <= _HIGHEST_RPS:
        result = outcome(rate)
        if result == "gone":
            break
        if result == "met":
            highest = rates["met"] = rate
        else:
            bound = rates[result] = rate
        if highest is None:
            rate /= 2
            # Where it is the client that cannot, a lower rate helps also below the server's limit.
            if rate < lowest_rps() / (_LATE_BELOW if result == "undecided" else 1):
                break
        elif bound is None:
            rate *= 2
        elif bound / highest > _CLOSE:
            rate = math.sqrt(highest * bound)
        else:
            break
    undecided = rates.get("undecided")
    return HighestRate(
        highest,
        rates.get("missed"),
        undecided if undecided == bound else None,
        gone=result == "gone",
    )


def find_highest_rate(
    bench: Bench,
    point: LoadPoint,
    requests: int | None = None,
    on_measured: Callable[[MeasuredPoint], None] = lambda _: None,
) -> HighestRate:
    """Find the highest rate that meets a load test's objectives.

    Begins at the rate of a small closed loop. Each rate is warmed up for as long as an answer takes
    and measured for several times as long. A rate at which the queue grows counts as missed, since
    it would miss in a longer measurement. One that the client could not send on time is undecided.

    Args:
        bench: the load test; every rate is added to what it has measured.
        point: an open loop; its rate, requests and duration are replaced.
        requests: measured at each rate; None for as many as the time takes.
        on_measured: called after each measurement.
    """
    start = bench.measure(
        LoadPoint(concurrency=_START_AT, requests=enough_requests(concurrency=_START_AT))
    )
    on_measured(start)
    answer_s = start.figures.latencies["e2e"].mean
    if not answer_s or start.gave_up:
        return HighestRate()
    alone_s = answer_s
    seconds = point.duration_s or max(OPEN_LOOP_S, _ANSWERS * answer_s)
    least = max(each.least_requests for each in bench.objectives)

    def outcome(rate: float) -> Outcome:
        nonlocal alone_s
        warmup = math.ceil(rate * max(1.0, answer_s)) if point.warmup is None else point.warmup
        default = max(enough_requests(rate=rate), math.ceil(rate * seconds))
        count = max(default if requests is None else requests, least)
        tried = replace(point, rate=rate, requests=count, warmup=warmup, duration_s=None)
        measured = bench.measure(tried, hopeless_ends=True)
        on_measured(measured)
        alone_s = min(alone_s, measured.figures.latencies["e2e"].mean or alone_s)
        return outcome_of(measured)

    return find_max(
        outcome,
        start_rps=start.figures.requests_per_s or 1.0,
        lowest_rps=lambda: _ALONE / alone_s,
    )


def outcome_of(measured: MeasuredPoint) -> Outcome:
    """Return what one measured rate shows of the server."""
    if measured.gave_up and not measured.figures.ok:
        return "gone"
    if measured.client_limited:
        return "undecided"
    if measured.met is None:
        # With failures no mean is known; at a rate that is to be kept up none may fail.
        marked = measured.columns["client_error_figures"]
        return "undecided" if marked or not measured.figures.failed else "missed"
    return "met" if measured.met and measured.figures.growth is None else "missed"
