"""Whether two samples differ by more than chance, and whether one drifts with time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
"""How often something may be called a difference that is none, over a whole family of tests."""


@dataclass(frozen=True)
class Difference:
    """How much one sample exceeds another that is independent of it, in the unit of the values.

    Attributes:
        mean: mean of the second minus mean of the first.
        low: lower bound of its 95 % interval; None where a sample has one value.
        high: upper bound; None likewise.
        p_value: two-sided, of there being no difference; None likewise.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None


@dataclass(frozen=True)
class Drift:
    """How a figure moves over the order in which it was measured.

    Attributes:
        change: from first to last along the fitted line, as a share of the mean.
        p_value: of no monotonic trend (Kendall's tau).
        visits: how many measurements there were.
    """

    change: float
    p_value: float
    visits: int


def unpaired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two samples of repeats by Welch's t test, which takes unequal variances.

    Args:
        first: one figure a repeat.
        second: one figure a repeat.

    Raises:
        ValueError: a sample is empty.
    """
    if not first or not second:
        raise ValueError("there are no values to compare")
    mean = float(np.mean(second) - np.mean(first))
    if len(first) < 2 or len(second) < 2:
        return Difference(mean, None, None, None)
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        # No spread at all: t is 0 / 0, or infinite.
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    from scipy import stats

    test = stats.ttest_ind(second, first, equal_var=False)
    interval = test.confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return the exact two-sided p-value that as many answers turned right as turned wrong.

    Args:
        first: whether each question was answered rightly.
        second: the same questions in the same order.

    Returns:
        The binomial test over the discordant pairs (McNemar 1947); 1 where there are none.
    """
    gained = sum(after and not before for before, after in zip(first, second, strict=True))
    lost = sum(before and not after for before, after in zip(first, second, strict=True))
    if gained + lost == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(gained, gained + lost).pvalue)


def share_difference(bad_first: int, first: int, bad_second: int, second: int) -> float:
    """Return Fisher's exact two-sided p-value that two shares are the same.

    Args:
        bad_first: failures of the first sample.
        first: size of the first sample.
        bad_second: failures of the second.
        second: size of the second.
    """
    from scipy import stats

    table = [[bad_first, first - bad_first], [bad_second, second - bad_second]]
    return float(stats.fisher_exact(table).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for there being many of them (Holm 1979).

    Calling a difference whatever is then at most 0.05 calls one or more wrongly in 5 % of all
    families, however its members depend on each other.
    """
    count = len(p_values)
    adjusted = [1.0] * count
    highest = 0.0
    for rank, place in enumerate(sorted(range(count), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def drift(values: Sequence[float]) -> Drift | None:
    """Return the trend of values in the order of their measurement; None under 5, or at mean 0.

    Args:
        values: one a visit, of any one unit.
    """
    sample = np.asarray(values, dtype=float)
    if len(sample) < 5 or sample.mean() == 0:
        return None
    from scipy import stats

    order = np.arange(len(sample))
    tau = stats.kendalltau(order, sample).pvalue
    slope = float(np.polynomial.polynomial.polyfit(order, sample, 1)[1])
    change = slope * (len(sample) - 1) / float(sample.mean())
    return Drift(change, 1.0 if math.isnan(tau) else float(tau), len(sample))


def coefficient_of_variation(values: Sequence[float]) -> float | None:
    """Return standard deviation over mean, of the repeats; None under two, or at mean 0."""
    if len(values) < 2 or np.mean(values) == 0:
        return None
    return float(np.std(values, ddof=1) / np.mean(values))
