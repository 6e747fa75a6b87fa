"""How many replicas a rate needs: a queue of the measured service times, simulated.

Requests arrive as a Poisson process and wait in one line for the first free slot of any replica, as
in Ray Serve's router. A replica has as many slots as the load point had requests in flight, and
each holds a request for a service time that was measured there. With fewer in flight a real replica
is mostly faster, so the simulated waits are rather too long than too short.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medsweep.decide.limits import Limit
from medsweep.metrics.statistics import percentile_floor
from medsweep.results.aggregate import Row, group_by

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}

COLUMNS = (
    "load_point",
    "variant",
    "repeat",
    "phase",
    "status",
    "sent_s",
    "first_text_s",
    "end_s",
)
"""Columns of `requests.parquet` that service times are read from."""

# Worlds that are simulated: each has its own speed, sample of requests and arrivals.
_WORLDS = 40
# A queue settles after some 4 / (1 - utilisation)^2 arrivals; it is simulated for ten times that.
_SETTLED = 40
_FEWEST_ARRIVALS, _MOST_ARRIVALS = 4_000, 40_000
# The number of replicas is exact to this share.
_STEP = 0.04


@dataclass(frozen=True)
class ServiceTimes:
    """The requests of one load point of a closed loop, from sending.

    Attributes:
        slots: requests that a replica answers at once.
        repeats: one array per repeat, or per deployment of several, with a row per request:
            seconds to the first text, to the end, and for which it held its slot. The first two are
            infinite for a failed request, and the first is NaN for an answer without text.
    """

    slots: int
    repeats: tuple[NDArray[np.float64], ...]

    @property
    def requests(self) -> NDArray[np.float64]:
        """The requests of all repeats."""
        return np.concatenate(self.repeats)

    @property
    def held_s(self) -> float:
        """Mean time for which a request holds its slot, in seconds."""
        return float(self.requests[:, 2].mean())

    @property
    def log_error(self) -> float:
        """Standard error of the logarithm of the mean times, over repeats.

        The speed of a replica is one number here, so it is the larger one of that of the time to
        first text and that of the time that slots are held.
        """
        errors = []
        for column in (0, 2):
            means = [
                float(times[np.isfinite(times[:, column]), column].mean())
                for times in self.repeats
                if np.isfinite(times[:, column]).any()
            ]
            if len(means) > 1:
                errors.append(float(np.std(np.log(means), ddof=1)) / math.sqrt(len(means)))
        return max(errors)


@dataclass(frozen=True)
class PlannedFigure:
    """A limited figure at the required rate.

    Attributes:
        value: in seconds; None if it has no bound, as where too many requests fail.
        probability: that the true figure meets the limit.
    """

    value: float | None
    probability: float


@dataclass(frozen=True)
class RatePlan:
    """Replicas for a rate, and what requests see then.

    Attributes:
        replicas: how many; None where none can be named.
        utilisation: share of the slots in use; None where the queue was not simulated.
        figures: by limit; without replicas those of requests that never wait.
        reason: why there are no replicas, or None.
    """

    replicas: int | None = None
    utilisation: float | None = None
    figures: Mapping[Limit, PlannedFigure] = field(default_factory=dict)
    reason: str | None = None


def service_times(
    rows: Iterable[Row], slots: int, deployments: Mapping[int | None, int | None]
) -> ServiceTimes:
    """Return the service times of one load point.

    Args:
        rows: of `requests.parquet`, with `COLUMNS`.
        slots: requests in flight.
        deployments: on which each repeat ran; what one of several gave is one sample.
    """
    several = len(set(deployments.values())) > 1
    measured = [row for row in rows if row["phase"] == "measure"]
    repeats = []
    for requests in group_by(
        measured, lambda row: deployments.get(row["repeat"]) if several else row["repeat"]
    ).values():
        times = np.empty((len(requests), 3))
        for place, row in enumerate(requests):
            held = row["end_s"] - row["sent_s"]
            first = row["first_text_s"]
            times[place] = (
                math.nan if first is None else first - row["sent_s"],
                held,
                held,
            )
            if row["status"] != "ok":
                times[place, :2] = math.inf
        repeats.append(times)
    return ServiceTimes(slots, tuple(repeats))


def waits_for_slot(limit: Limit) -> bool:
    """Return whether time in the queue counts towards a limited figure."""
    return limit.column.startswith(("ttft_", "e2e_", "wait_"))


def plan_replicas(
    service: ServiceTimes, rate: float, limits: Sequence[Limit], target: float, seed: int = 0
) -> RatePlan:
    """Return the fewest replicas with which a rate meets limits on times.

    Each of 40 simulated worlds has a speed from the t distribution over the repeats, a bootstrap
    sample of the requests and arrivals of its own. The probability of a limit is the share of
    worlds that meet it.

    Args:
        service: measured at one load point.
        rate: requests per second that all replicas together must answer.
        limits: on TTFT or end-to-end time. Without any, 95 % of requests must wait at most as long
            as a mean answer takes.
        target: probability of meeting all limits (Bonferroni).
        seed: of the worlds.
    """
    if len(service.repeats) < 2:
        return RatePlan(reason="one repeat does not show how certain its service times are")
    if fault := _too_few(service, limits):
        return RatePlan(reason=fault)
    limits = limits or [Limit("wait", "wait_p95_s", True, service.held_s)]
    worlds = _worlds(service, seed)
    # With endless replicas nothing waits, and no number of replicas can do better.
    alone = [_figures(limits, world, 0.0) for world in worlds]
    best = _planned(alone, limits)
    if _joint(best) <= 1 - target:
        return RatePlan(figures=best, reason="no number of replicas is enough")
    replicas = math.floor(rate * service.held_s / service.slots) + 1
    figures: list[list[float]] = []
    while True:
        figures = _simulate(worlds, rate, replicas * service.slots, limits, seed, figures)
        planned = _planned(figures, limits)
        if _joint(planned) >= target * _joint(best):
            break
        replicas += max(1, math.floor(replicas * _STEP))
    utilisation = rate * service.held_s / (replicas * service.slots)
    return RatePlan(replicas, utilisation, planned)


def probabilities_at(
    service: ServiceTimes, rate: float, replicas: int, limits: Sequence[Limit], seed: int = 0
) -> dict[Limit, float]:
    """Return the probability that each limit is met by a number of replicas.

    Args:
        service: measured at one load point, at least twice.
        rate: requests per second that all replicas together must answer.
        replicas: how many.
        limits: on TTFT, end-to-end time or the wait.
        seed: of the worlds.
    """
    worlds = _worlds(service, seed)
    figures = _simulate(worlds, rate, replicas * service.slots, limits, seed, [])
    return {limit: each.probability for limit, each in _planned(figures, limits).items()}


def _simulate(
    worlds: Sequence[NDArray[np.float64]],
    rate: float,
    slots: int,
    limits: Sequence[Limit],
    seed: int,
    before: Sequence[list[float]],
) -> list[list[float]]:
    """Return the limited figures of each world; `before` are those with fewer slots, if any."""
    figures = []
    for place, world in enumerate(worlds):
        # More slots never make what is met unmet.
        if before and _all_met(before[place], limits):
            figures.append(before[place])
        else:
            figures.append(_figures(limits, world, _waits(rate, slots, world, seed + place)))
    return figures


def _too_few(service: ServiceTimes, limits: Sequence[Limit]) -> str | None:
    """Return why a percentile of the requests is not known, or None if all are."""
    count = len(service.requests)
    for limit in limits:
        quantile = QUANTILES.get(_statistic(limit))
        if quantile is not None and count < (needed := percentile_floor(quantile)):
            return f"{limit.column} needs {needed} requests, {count} were measured"
    return None


def _worlds(service: ServiceTimes, seed: int) -> list[NDArray[np.float64]]:
    from scipy import stats

    rng = np.random.default_rng(seed)
    requests = service.requests
    levels = (np.arange(_WORLDS) + 0.5) / _WORLDS
    shifts = stats.t.ppf(levels, len(service.repeats) - 1) * service.log_error
    worlds = []
    for shift in shifts:
        drawn = requests[rng.integers(len(requests), size=len(requests))]
        # The spread of the mean is already in the shift: the sample gives the shape alone.
        speed = math.exp(shift) * service.held_s / drawn[:, 2].mean()
        worlds.append(drawn * speed)
    return worlds


def _waits(
    rate: float, slots: int, world: NDArray[np.float64], seed: int
) -> NDArray[np.float64] | float:
    """Return how long each request waits and which it is; infinity where the queue grows."""
    utilisation = rate * float(world[:, 2].mean()) / slots
    if utilisation >= 1:
        return math.inf
    arrivals = _SETTLED / (1 - utilisation) ** 2
    count = round(min(max(arrivals, _FEWEST_ARRIVALS), _MOST_ARRIVALS))
    return simulated_waits(rate, slots, world[:, 2], count, seed)


def simulated_waits(
    rate: float, slots: int, held_s: NDArray[np.float64], count: int, seed: int
) -> NDArray[np.float64]:
    """Return the waits of a settled queue, in seconds.

    Args:
        rate: arrivals per second, a Poisson process.
        slots: of all replicas.
        held_s: service times to draw from.
        count: arrivals to simulate; the first quarter is left out, while the queue fills.
        seed: of arrivals and draws.
    """
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, count)).tolist()
    held = held_s[rng.integers(len(held_s), size=count)].tolist()
    free = [0.0] * min(slots, count)
    waits = []
    for arrival, service in zip(due, held, strict=True):
        start = free[0] if free[0] > arrival else arrival
        heapq.heapreplace(free, start + service)
        waits.append(start - arrival)
    return np.array(waits[count // 4 :])


def _figures(
    limits: Sequence[Limit], world: NDArray[np.float64], waits: NDArray[np.float64] | float
) -> list[float]:
    """Return the limited figures. What a request waits does not depend on its own length."""
    if isinstance(waits, float):
        waits = np.full(len(world), waits)
    rows = np.arange(len(waits)) % len(world)
    figures = []
    for limit in limits:
        column = {"ttft": 0, "e2e": 1}.get(limit.column.partition("_")[0])
        times = waits if column is None else waits + world[rows, column]
        times = times[~np.isnan(times)]
        statistic = _statistic(limit)
        if statistic in QUANTILES:
            value = np.quantile(times, QUANTILES[statistic], method="inverted_cdf")
        else:
            value = times[np.isfinite(times)].mean() if np.isfinite(waits).all() else math.inf
        figures.append(float(value))
    return figures


def _statistic(limit: Limit) -> str:
    return limit.column.removesuffix("_s").rpartition("_")[2]


def _all_met(figures: Sequence[float], limits: Sequence[Limit]) -> bool:
    return all(figure <= limit.bound for figure, limit in zip(figures, limits, strict=True))


def _planned(
    figures: Sequence[Sequence[float]], limits: Sequence[Limit]
) -> dict[Limit, PlannedFigure]:
    """Return the median world's figure, and the share of worlds that meet the limit."""
    planned = {}
    for place, limit in enumerate(limits):
        values = sorted(world[place] for world in figures)
        middle = values[len(values) // 2]
        met = sum(value <= limit.bound for value in values) / len(values)
        planned[limit] = PlannedFigure(middle if math.isfinite(middle) else None, met)
    return planned


def _joint(planned: Mapping[Limit, PlannedFigure]) -> float:
    return max(0.0, 1 - sum(1 - each.probability for each in planned.values()))
