"""Tests of whether two samples differ beyond chance, and whether a figure drifts over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
"""Probability of one or more false positives in a family of tests."""

_MOST_SPLITS = 20_000
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """The difference between two independent samples, in the unit of their values.

    Attributes:
        mean: mean of the second minus mean of the first.
        low: lower bound of its 95 % interval; None if a sample has only one value.
        high: upper bound of the interval; None in the same case.
        p_value: two-sided p-value of no difference; None in the same case.
        error: standard error; None in the same case.
        freedom: degrees of freedom of the error; None in the same case, and without any spread.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    error: float | None = None
    freedom: float | None = None


@dataclass(frozen=True)
class Drift:
    """The trend of a figure over the order of its measurements.

    Attributes:
        change: change from first to last along the fitted line, as a share of the mean.
        p_value: p-value of no monotonic trend (Kendall's tau).
        measurements: number of measurements.
    """

    change: float
    p_value: float
    measurements: int


def unpaired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two samples of independent values by Welch's t-test, which allows unequal variances.

    Args:
        first: one value per deployment, or per repeat.
        second: the same of the other sample.

    Raises:
        ValueError: a sample is empty.
    """
    if not first or not second:
        raise ValueError("there are no values to compare")
    mean = float(np.mean(second) - np.mean(first))
    if len(first) < 2 or len(second) < 2:
        return Difference(mean, None, None, None)
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        # No spread: t is 0 / 0 or infinite.
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0, 0.0)
    from scipy import stats

    test = stats.ttest_ind(second, first, equal_var=False)
    interval = test.confidence_interval(0.95)
    error = math.sqrt(np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second))
    return Difference(
        mean,
        float(interval.low),
        float(interval.high),
        float(test.pvalue),
        error,
        float(test.df),
    )


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return the exact two-sided p-value of as many answers turning right as turning wrong.

    Args:
        first: whether each question was answered correctly.
        second: the same for the same questions in the same order.

    Returns:
        P-value of the binomial test on the discordant pairs (McNemar 1947); 1 if there are none.
    """
    gained = sum(after and not before for before, after in zip(first, second, strict=True))
    lost = sum(before and not after for before, after in zip(first, second, strict=True))
    if gained + lost == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(gained, gained + lost).pvalue)


def least_mcnemar_p(changed: int) -> float:
    """Return the least p-value of `mcnemar` if this number of answers changed sides."""
    return min(1.0, 2.0 ** (1 - changed))


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p-value of a permutation test of two samples' means (Fisher 1935).

    It is the share of all splits of the pooled values into samples of these sizes whose means
    differ by at least as much. If there are more than 20,000 splits, that many are drawn at random,
    and the measured split is added to them.

    Args:
        first: one value per repeat.
        second: one value per repeat.

    Returns:
        None if even the most extreme split has a p-value above `ALPHA`, as with three values
        against three: 2 of 20.
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
    """Return the least p-value that `permutation_p` can return for samples of these sizes."""
    # Samples of equal size can be swapped, which gives the same difference once more.
    return (2 if size == others else 1) / math.comb(size + others, size)


@cache
def _splits(count: int, size: int) -> NDArray[np.int64]:
    return np.array(list(combinations(range(count), size)), dtype=np.int64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for multiple tests (Holm 1979).

    If every corrected p-value of at most 0.05 counts as a difference, at most 5 % of all families
    of tests have a false positive, however the tests depend on each other.
    """
    count = len(p_values)
    adjusted = [1.0] * count
    highest = 0.0
    for rank, place in enumerate(sorted(range(count), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def drift(values: Sequence[float]) -> Drift | None:
    """Return the trend of values in order of measurement; None for under 5 values or a mean of 0.

    Args:
        values: one value per measurement, in any unit.
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
    """Return standard deviation over mean; None for under two values or a mean of 0."""
    if len(values) < 2 or np.mean(values) == 0:
        return None
    return float(np.std(values, ddof=1) / np.mean(values))
