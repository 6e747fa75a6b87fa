"""Assess one configuration: its limits checked, also at a required rate, and what is in doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsweep.decide.candidates import LATENCY, Candidate
from medsweep.decide.limit_check import SURE, LimitCheck, check_limit, quantile_of
from medsweep.decide.limits import USD_PER_1K, Limit
from medsweep.decide.queueing import RatePlan, plan_replicas, service_times, waits_for_slot
from medsweep.digits import percent
from medsweep.metrics.statistics import percentile_floor
from medsweep.results.aggregate import Row, first

FEWEST_REPEATS = 3
"""With fewer repeats an interval says little."""


@dataclass(frozen=True)
class Assessment:
    """One candidate with its limits checked.

    Attributes:
        candidate: the configuration, at the load point that suits it best.
        checks: one per limit.
        plan: for the required rate; None if none is required.
    """

    candidate: Candidate
    checks: tuple[LimitCheck, ...]
    plan: RatePlan | None = None

    @property
    def replicas(self) -> int | None:
        """Replicas for the required rate; None if none is required or that is unknown."""
        return None if self.plan is None else self.plan.replicas

    @property
    def probability(self) -> float | None:
        """Lower bound of the probability that all limits are met (Bonferroni)."""
        missed = 0.0
        for check in self.checks:
            if check.probability is None:
                return None
            missed += 1 - check.probability
        return max(0.0, 1 - missed)

    @property
    def is_met(self) -> bool:
        """Whether all limits are met with near certainty."""
        return self.probability is not None and self.probability >= SURE

    @property
    def is_missed(self) -> bool:
        """Whether a limit is missed with near certainty."""
        return any(
            check.probability is not None and check.probability <= 1 - SURE for check in self.checks
        )

    @property
    def standing(self) -> int:
        """0 if the limits are met, 2 if one is missed, 1 if that is undecided."""
        return 0 if self.is_met else 2 if self.is_missed else 1

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all replicas, or of one if no rate is required."""
        price = self.candidate.mean("usd_per_hour")
        if self.plan is not None and self.replicas is None:
            return None
        return None if price is None else price * (self.replicas or 1)

    @property
    def doubts(self) -> list[str]:
        """Why the evidence is thin; empty if it is not."""
        doubts = []
        repeats = len(self.candidate.rows)
        if repeats < FEWEST_REPEATS:
            repeats_measured = f"{repeats} repeat{'s' if repeats > 1 else ''}"
            doubts.append(f"{repeats_measured}; at least {FEWEST_REPEATS} are needed")
        limited, failed = self.candidate.client_limited, self.candidate.failed_share
        if limited:
            doubts.append("limited by the client, not the server: only its quality is known")
        if failed and any(check.limit.column.endswith("_s") for check in self.checks):
            doubts.append(f"{percent(failed, 2)} of requests failed")
        unplanned = None if self.plan is None else self.plan.reason
        if unplanned and not limited:
            doubts.append(f"no plan for the rate: {unplanned}")
        for check in self.checks:
            if unplanned and check.probability is None and waits_for_slot(check.limit):
                continue
            if check.value is None and check.probability is None:
                doubts.append(_missing(self.candidate, check.limit))
            elif check.probability is None and limited:
                continue
            elif check.probability is None:
                doubts.append(f"{check.limit.column}: {_unknown(self.candidate, check.limit)}")
            elif 1 - SURE < check.probability < SURE:
                doubts.append(f"{check.limit.column}: too close to its limit to tell")
        return doubts


def assess(
    candidate: Candidate,
    limits: Sequence[Limit],
    rate: float | None,
    requests: Mapping[tuple[object, ...], Sequence[Row]],
) -> Assessment:
    """Return a configuration with its limits checked.

    Args:
        candidate: the configuration at one load point.
        limits: what must be met.
        rate: requests per second that all replicas together must answer; None requires none.
        requests: rows of `requests.parquet` by cell key, variant and load point; a rate is
            planned from them.
    """
    checks = [check_limit(candidate, limit) for limit in limits]
    if rate is None:
        return Assessment(candidate, tuple(checks))
    waiting = [limit for limit in limits if waits_for_slot(limit)]
    plan = _plan(candidate, waiting, rate, requests)
    planned = [_planned(check, plan, candidate, rate) for check in checks]
    # Without a limit on time there is one on the wait.
    planned += [
        LimitCheck(limit, each.value, each.probability)
        for limit, each in plan.figures.items()
        if limit not in limits
    ]
    return Assessment(candidate, tuple(planned), plan)


def _plan(
    candidate: Candidate,
    limits: Sequence[Limit],
    rate: float,
    requests: Mapping[tuple[object, ...], Sequence[Row]],
) -> RatePlan:
    """Return the replicas for a rate: by a queue from a closed loop, else by the measured rate."""
    rows = candidate.rows
    if candidate.client_limited:
        return RatePlan(reason="limited by the client, not the server")
    if LATENCY in candidate.client_error_figures:
        return RatePlan(reason="more than a tenth of the end-to-end time is client error")
    slots, measured_rate = first(rows, "concurrency"), first(rows, "rate_rps")
    if slots is not None:
        key = (first(rows, "key"), candidate.variant, candidate.load_point)
        if not requests.get(key):
            return RatePlan(reason="no times of single requests (requests.parquet)")
        deployments = {row.get("repeat"): row.get("deployment") for row in rows}
        service = service_times(requests[key], slots, deployments)
        return plan_replicas(service, rate, limits, SURE)
    if measured_rate is None:
        return RatePlan(reason="a replay has no rate to plan by")
    if first(rows, "arrivals") == "constant":
        return RatePlan(reason="constant arrivals hide the queue; measure with arrivals: poisson")
    if any(row.get("e2e_growth") is not None for row in rows):
        return RatePlan(reason="the queue grows at the measured rate")
    return RatePlan(math.ceil(rate / measured_rate))


def _planned(check: LimitCheck, plan: RatePlan, candidate: Candidate, rate: float) -> LimitCheck:
    """Return a check at the required rate, for which the plan was made."""
    limit = check.limit
    if limit.column == USD_PER_1K:
        price = candidate.mean("usd_per_hour")
        if price is None or plan.replicas is None:
            return LimitCheck(limit, None, None)
        usd = 1000 * price * plan.replicas / (3600 * rate)
        return LimitCheck(limit, usd, 1.0 if usd <= limit.bound else 0.0)
    if not waits_for_slot(limit):
        return check
    if (figure := plan.figures.get(limit)) is not None:
        return LimitCheck(limit, figure.value, figure.probability)
    # Without a plan a limit is missed for sure where it is missed without a queue.
    if plan.replicas is None and check.probability is not None and check.probability > 1 - SURE:
        return LimitCheck(limit, None, None)
    return check


def _unknown(candidate: Candidate, limit: Limit) -> str:
    """Return why a figure that was measured decides nothing."""
    if limit.column in candidate.client_error_figures:
        return "more than a tenth is the client's own error"
    if not candidate.failed_share:
        return "no interval"
    if quantile_of(limit.column) is None:
        return "a mean with requests that never ended is not known; limit a percentile"
    return "too few repeats, or too many failures to tell"


def _missing(candidate: Candidate, limit: Limit) -> str:
    """Return why a figure is missing, and what it needs."""
    _, _, statistic = limit.column.removesuffix("_s").rpartition("_")
    if limit.column == USD_PER_1K:
        return "no price: the profile has none, or was measured on other hardware"
    if not statistic.startswith("p"):
        return f"{limit.column}: not measured"
    needed = percentile_floor(int(statistic[1:]) / 100)
    sent = max((row.get("ok") or 0) for row in candidate.rows)
    return f"{limit.column}: needs {needed} requests per repeat, {sent} were measured"
