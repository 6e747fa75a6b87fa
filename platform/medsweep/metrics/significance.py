"""Whether two samples differ by more than chance, and whether one drifts with time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
"""How often something may be called a difference that is none, over a whole family of tests."""

_MOST_SPLITS = 20_000
_ROUNDING = 1e-12


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


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p-value that the labels of two samples do not matter.

    The share of all ways to split the pooled values into samples of these sizes whose means differ
    by at least as much (Fisher 1935). With more than 20,000 ways that many are drawn, and the
    split that was measured counts as one more.

    Args:
        first: one figure per repeat.
        second: one figure per repeat.

    Returns:
        None where even the most extreme split would have a p-value above `ALPHA`, as with three
        values against three: 2 of 20.
    """
    size, others = len(first), len(second)
    splits = math.comb(size + others, size)
    if least_permutation_p(size, others) > ALPHA:
        return None
    pooled = np.array([*first, *second], dtype=float)
    if splits <= _MOST_SPLITS:
        sums = pooled[_splits(size + others, size)].sum(axis=1)
    else:
        draws = np.tile(pooled, (_MOST_SPLITS, 1))
        sums = np.random.default_rng(0).permuted(draws, axis=1)[:, :size].sum(axis=1)
    differences = np.abs(sums / size - (pooled.sum() - sums) / others)
    measured = abs(float(np.mean(first)) - float(np.mean(second)))
    extreme = int((differences >= measured - _ROUNDING).sum())
    drawn = splits > _MOST_SPLITS
    return (extreme + drawn) / (len(sums) + drawn)


def least_permutation_p(size: int, others: int) -> float:
    """Return the least p-value that `permutation_p` can have for samples of two sizes."""
    # Samples of one size can swap places, which gives the same difference once more.
    return (2 if size == others else 1) / math.comb(size + others, size)


@cache
def _splits(count: int, size: int) -> NDArray[np.int64]:
    return np.array(list(combinations(range(count), size)), dtype=np.int64)


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
