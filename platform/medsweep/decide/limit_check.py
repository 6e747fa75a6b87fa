"""Check one limit against one configuration: the probability that its true value meets it."""

from __future__ import annotations

from dataclasses import dataclass

from medsweep.decide.candidates import Candidate
from medsweep.decide.limits import USD_PER_1K, Limit
from medsweep.decide.queueing import QUANTILES
from medsweep.results.schema import QUALITIES

SURE = 0.95
"""From this probability a limit counts as met, up to its complement as missed."""


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


def check_limit(candidate: Candidate, limit: Limit) -> LimitCheck:
    """Return the check of one limit.

    A failed request counts as one that never ends, so a percentile of all requests lies above the
    same percentile of the answered ones, or is infinite; of a mean only that it is missed can be
    known. Client error makes a request longer: a time that meets its limit all the same meets it.
    """
    value = candidate.mean(limit.column)
    quantile = quantile_of(limit.column)
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
    # Student's t over deployments or repeats; there are enough questions that t is normal.
    is_repeated = column == USD_PER_1K or column.endswith("_s")
    return value, error, len(candidate.samples(column)) - 1 if is_repeated else 10_000


def percentile_columns(column: str, quantile: float) -> list[str]:
    """Return the columns of a time's percentiles from a quantile on, and of its maximum."""
    stem = column.removesuffix("_s").rpartition("_")[0]
    statistics = {**QUANTILES, "max": 1.0}
    return [f"{stem}_{name}_s" for name, each in statistics.items() if each >= quantile]


def quantile_of(column: str) -> float | None:
    """Return the quantile of a percentile's column such as `ttft_p95_s`; None for others."""
    return QUANTILES.get(column.removesuffix("_s").rpartition("_")[2])
