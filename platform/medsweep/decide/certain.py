"""From which bound a limit is met for certain, and up to which it is missed for certain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medsweep.decide.candidates import Candidate
from medsweep.decide.limits import make_limits
from medsweep.decide.recommend import SURE, check_limit

# Student's t with one degree of freedom reaches 0.99 at 32 standard errors.
_ERRORS = 64
_HALVINGS = 40


@dataclass(frozen=True)
class CertainBounds:
    """What is certain of one figure of one configuration.

    Attributes:
        value: the measured mean; None if it is unknown.
        met: strictest bound that is met; None if none is known to be.
        missed: laxest bound that is missed; None likewise.
    """

    value: float | None
    met: float | None
    missed: float | None


def certain_bounds(candidate: Candidate, option: str, *, limits: int = 1) -> CertainBounds:
    """Return what is certain of one figure.

    A bound counts as met or missed as in `recommend`. With several limits each must be met with
    its share of the certainty (Bonferroni), so that all are met with a probability of 95 %.

    Args:
        candidate: one configuration at one load point.
        option: names the limit, such as "max-p95-ttft".
        limits: number of limits that are set together.
    """
    [limit] = make_limits({option: 0.0})
    value = candidate.mean(limit.column)
    if value is None:
        return CertainBounds(None, None, None)
    width = _ERRORS * (candidate.standard_error(limit.column) or 0.0)
    sign = 1 if limit.is_upper else -1  # towards laxer bounds

    def probability(bound: float) -> float | None:
        return check_limit(candidate, make_limits({option: bound})[0]).probability

    strict, lax = value - sign * width, value + sign * width
    met = _first(lambda bound: (probability(bound) or 0.0) >= 1 - (1 - SURE) / limits, strict, lax)
    missed = _first(lambda bound: _or_one(probability(bound)) <= 1 - SURE, lax, strict)
    return CertainBounds(value, met, missed)


def _first(holds: Callable[[float], bool], start: float, end: float) -> float | None:
    """Return the bound nearest to `start` from which something holds; None if it does nowhere."""
    if not holds(end):
        return None
    for _ in range(_HALVINGS):
        middle = (start + end) / 2
        start, end = (start, middle) if holds(middle) else (middle, end)
    return end


def _or_one(probability: float | None) -> float:
    return 1.0 if probability is None else probability
