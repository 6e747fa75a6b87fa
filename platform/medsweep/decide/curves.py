"""With what probability a figure meets any limit: what `recommend` says, as a curve."""

from __future__ import annotations

from dataclasses import dataclass

from medsweep.decide.candidates import Candidate
from medsweep.decide.limit_check import check_limit, estimate, percentile_columns
from medsweep.decide.limits import make_limits

# Dense where a decision turns: at 95 %, at its complement, and above it for several limits.
_PROBABILITIES = (
    1e-9, 0.001, 0.01, 0.03, 0.049, 0.04999, 0.05001, 0.051, 0.06, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8,
    0.9, 0.94, 0.949, 0.94999, 0.95001, 0.951, 0.955, 0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99,
    0.995, 0.999, 1 - 1e-9,
)  # fmt: skip


@dataclass(frozen=True)
class ProbabilityCurve:
    """With what probability one figure meets a limit, by its bound.

    Attributes:
        bounds: from the strictest to the laxest; those of a lower limit are negative.
        probabilities: at each bound; None where it is unknown. Between two it is about linear,
            before the first and after the last it stays the same.
    """

    bounds: tuple[float, ...]
    probabilities: tuple[float | None, ...]


def probability_curve(candidate: Candidate, option: str) -> ProbabilityCurve | None:
    """Return the curve of one limit as `recommend` checks it; None if nothing is known.

    Args:
        candidate: one configuration at one load point.
        option: names the limit, such as "max-p95-ttft".
    """
    from scipy import stats

    [limit] = make_limits({option: 0.0})
    sign = 1 if limit.is_upper else -1
    columns = {limit.column}
    if candidate.failed_share and limit.column.endswith("_s"):
        columns |= set(percentile_columns(limit.column, 0))
    laxness: set[float] = set()
    for value, error, freedom in filter(None, (estimate(candidate, each) for each in columns)):
        quantiles = stats.t.ppf(_PROBABILITIES, freedom) if error else (-1e-6, 0)
        laxness |= {sign * value + (error or abs(value)) * float(each) for each in quantiles}
    bounds = tuple(float(f"{each:.8g}") for each in sorted(laxness))
    probabilities = tuple(
        check_limit(candidate, make_limits({option: sign * bound})[0]).probability
        for bound in bounds
    )
    if all(each is None for each in probabilities):
        return None
    return ProbabilityCurve(
        bounds, tuple(None if each is None else round(each, 6) for each in probabilities)
    )
