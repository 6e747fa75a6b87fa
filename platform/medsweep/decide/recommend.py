"""Rank configurations by the probability that they meet the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsweep.decide.candidates import LATENCY, QUALITY, Candidate, candidates
from medsweep.decide.limits import USD_PER_1K, Limit
from medsweep.decide.queueing import (
    COLUMNS,
    QUANTILES,
    RatePlan,
    plan_replicas,
    service_times,
    waits_for_slot,
)
from medsweep.errors import InputError
from medsweep.metrics.statistics import percentile_floor
from medsweep.results.aggregate import BASES, Row, first, group_by_columns
from medsweep.results.reader import Results
from medsweep.results.schema import QUALITIES

SURE = 0.95
"""From this probability a limit counts as met, up to its complement as missed."""

FEWEST_REPEATS = 3
"""With fewer repeats an interval says little."""


@dataclass(frozen=True)
class LimitCheck:
    """One limit applied to one candidate.

    Attributes:
        limit: the limit.
        value: measured mean, or what is planned at the required rate; None if it is unknown.
        probability: that the true value meets the limit; None if it is unknown.
    """

    limit: Limit
    value: float | None
    probability: float | None


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
            doubts.append(f"{failed:.2%} of requests failed")
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
                value = "no bound" if check.value is None else f"{check.value:.3g}"
                doubts.append(
                    f"{check.limit.column}: {value} is too close to {check.limit.bound:g} to tell"
                )
        return doubts


def recommend(
    candidates: Sequence[Candidate],
    limits: Sequence[Limit],
    rate: float | None = None,
    requests: Mapping[tuple[object, ...], Sequence[Row]] | None = None,
) -> list[Assessment]:
    """Return one assessment per configuration: those that meet the limits first, then by price.

    At equal prices higher quality comes first, then lower latency. Prices order those that meet
    the limits, those that miss them and the undecided only where all of them have one: what has no
    price is neither the cheapest nor the most expensive.

    Args:
        candidates: of one basis.
        limits: what must be met.
        rate: requests per second that all replicas together must answer.
        requests: rows of `requests.parquet` by cell key, variant and load point; a rate is
            planned from them.
    """
    best: dict[tuple[str, str, str], Assessment] = {}
    for candidate in candidates:
        assessment = _assess(candidate, limits, rate, requests or {})
        known = best.get(candidate.configuration)
        if known is None or _suitability(assessment) > _suitability(known):
            best[candidate.configuration] = assessment
    unpriced = {each.standing for each in best.values() if each.usd_per_hour is None}
    return sorted(best.values(), key=lambda each: _rank(each, priced=each.standing not in unpriced))


def recommend_by_basis(
    results: Results, limits: Sequence[Limit], rate: float | None = None
) -> dict[str, list[Assessment]]:
    """Return the assessments of each basis; configurations of different bases are never compared.

    Args:
        results: of a sweep or of `medsweep bench`.
        limits: what must be met.
        rate: requests per second that all replicas together must answer.

    Raises:
        InputError: there are no limits.
    """
    if not limits:
        raise InputError(
            "give at least one limit, such as --max-p95-ttft 500ms, --min-token-f1 0.25 or "
            "--max-usd-per-1k 2: without limits every configuration meets them"
        )
    measured = candidates(results.rows)
    requests: dict[tuple[object, ...], list[Row]] = {}
    if rate is not None:
        requests = group_by_columns(results.requests(COLUMNS), "key", "variant", "load_point")
    return {
        basis: recommend([each for each in measured if each.basis == basis], limits, rate, requests)
        for basis in BASES
        if any(each.basis == basis for each in measured)
    }


def cheaper(ranked: Sequence[Assessment], chosen: Assessment) -> Assessment | None:
    """Return the most expensive configuration that costs less than the chosen one, or None."""
    price = chosen.usd_per_hour
    below = [
        other
        for other in ranked
        if price is not None and other.usd_per_hour is not None and other.usd_per_hour < price
    ]
    return max(below, key=lambda other: other.usd_per_hour or 0.0, default=None)


def better(ranked: Sequence[Assessment], chosen: Assessment) -> Assessment | None:
    """Return the configuration with the best quality if it exceeds the chosen one's, or None."""
    own = chosen.candidate.mean(QUALITY)
    above = [
        (quality, index)
        for index, other in enumerate(ranked)
        if (quality := other.candidate.mean(QUALITY)) is not None
        and own is not None
        and quality > own
    ]
    return ranked[max(above)[1]] if above else None


def _assess(
    candidate: Candidate,
    limits: Sequence[Limit],
    rate: float | None,
    requests: Mapping[tuple[object, ...], Sequence[Row]],
) -> Assessment:
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
    """Return a check as it is at the required rate, which the plan is for."""
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


def check_limit(candidate: Candidate, limit: Limit) -> LimitCheck:
    """Return the check of one limit.

    A failed request counts as one that never ends, so a percentile of all requests lies above the
    same percentile of the answered ones, or is infinite; of a mean only that it is missed can be
    known. Client error makes a request longer: a time that meets its limit all the same meets it.
    """
    value = candidate.mean(limit.column)
    quantile = _quantile(limit.column)
    failed = candidate.failed_share
    if quantile is not None and failed > 1 - quantile:
        return LimitCheck(limit, value, 0.0)
    if candidate.client_limited and limit.column not in QUALITIES:
        return LimitCheck(limit, value, None)
    probability = _probability(candidate, limit, limit.column)
    longer = limit.column.startswith(("ttft", "e2e")) and (probability or 0.0) >= SURE
    if limit.column in candidate.client_error_figures and not longer:
        return LimitCheck(limit, value, None)
    mean_time = quantile is None and limit.column.endswith("_s")
    if mean_time and failed and (probability or 0.0) > 1 - SURE:
        return LimitCheck(limit, value, None)
    if quantile is None or not failed or probability is None or probability <= 1 - SURE:
        return LimitCheck(limit, value, probability)
    # At this quantile of the answered requests lies the wanted one of all.
    equivalent = quantile / (1 - failed)
    columns = percentile_columns(limit.column, equivalent)
    bounds = [_probability(candidate, limit, column) for column in columns]
    known = next((each for each in bounds if each is not None), None)
    return LimitCheck(limit, value, known if known is not None and known >= SURE else None)


def _probability(candidate: Candidate, limit: Limit, column: str) -> float | None:
    """Return the probability that the true mean of a column is within a limit."""
    known = estimate(candidate, column)
    if known is None:
        return None
    value, error, freedom = known
    margin = limit.bound - value if limit.is_upper else value - limit.bound
    if error == 0:
        return 1.0 if margin >= 0 else 0.0
    from scipy import stats

    return float(stats.t.cdf(margin / error, freedom))


def estimate(candidate: Candidate, column: str) -> tuple[float, float, int] | None:
    """Return mean, standard error and degrees of freedom of a column's true mean, or None."""
    value, error = candidate.mean(column), candidate.standard_error(column)
    if value is None or error is None:
        return None
    # Student's t over deployments or repeats; questions are so many that t is normal.
    is_repeated = column == USD_PER_1K or column.endswith("_s")
    return value, error, len(candidate.samples(column)) - 1 if is_repeated else 10_000


def percentile_columns(column: str, quantile: float) -> list[str]:
    """Return the columns of a time's percentiles from a quantile on, and of its maximum."""
    stem = column.removesuffix("_s").rpartition("_")[0]
    statistics = {**QUANTILES, "max": 1.0}
    return [f"{stem}_{name}_s" for name, each in statistics.items() if each >= quantile]


def _quantile(column: str) -> float | None:
    """Return the quantile of a percentile's column such as `ttft_p95_s`; None for others."""
    return QUANTILES.get(column.removesuffix("_s").rpartition("_")[2])


def _suitability(assessment: Assessment) -> tuple[bool, float, float]:
    """Return a sorting key of load points: that limits are met, their probability, throughput.

    At a required rate the fewest replicas take the place of throughput.
    """
    if assessment.plan is None:
        room = assessment.candidate.speed("requests_per_s") or 0.0
    else:
        room = -math.inf if assessment.replicas is None else -assessment.replicas
    return (
        assessment.is_met,
        0.0 if assessment.is_met else assessment.probability or 0.0,
        room,
    )


def _rank(assessment: Assessment, *, priced: bool) -> tuple[int, float, float, float]:
    price, quality = assessment.usd_per_hour, assessment.candidate.mean(QUALITY)
    latency = assessment.candidate.speed(LATENCY)
    return (
        assessment.standing,
        price if priced and price is not None else 0.0,
        -(quality or 0.0),
        math.inf if latency is None else latency,
    )


def _unknown(candidate: Candidate, limit: Limit) -> str:
    """Return why a figure that was measured decides nothing."""
    if limit.column in candidate.client_error_figures:
        return "more than a tenth is the client's own error"
    if not candidate.failed_share:
        return "no interval"
    if _quantile(limit.column) is None:
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
