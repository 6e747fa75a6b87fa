"""How well confidence tells right answers from wrong ones, and better from worse: rank statistics.

The area under the ROC curve for right and wrong answers, and Spearman's correlation for graded
ones, both with intervals that hold where the order is perfect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.resampling import bootstrap_bounds
from medsweep.metrics.statistics import Interval

FEWEST = 50
"""Fewest answers for the bounds of a bootstrap over them."""

Z_95 = 1.96
"""Standard errors on either side of 95 % of a normal distribution."""

_BELOW_1 = 1 - 1e-9
"""From here on an area or a correlation counts as 1: no end of an interval is as close to it."""

Values = NDArray[np.float64]


def auroc(confidence: Values, right: Values) -> float:
    """Return the area under the ROC curve (Mann & Whitney 1947); nan if all are right or wrong."""
    from scipy.stats import rankdata

    positive = int(right.sum())
    negative = len(right) - positive
    if not positive or not negative:
        return np.nan
    ranks = rankdata(confidence)[right == 1].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def auroc_interval(confidence: Values, right: Values) -> Interval | None:
    """Return the area under the ROC curve with its 95 % interval; None if all are right or wrong.

    Newcombe's interval (`score_bounds`) follows from a model in which no wrong answer is much surer
    than the others. Its variance is therefore raised to that of DeLong, DeLong and Clarke-Pearson
    (1988), which needs no model, of the sample with two more answers: a right one less sure than
    all wrong ones, and a wrong one surer than all right ones. A sample may have missed such, and
    where right and wrong answers are perfectly separated it has no variance without them.

    Args:
        confidence: one value per answer.
        right: 1 for a right answer, else 0.
    """
    middle = auroc(confidence, right)
    if np.isnan(middle):
        return None
    # An area below 0.5 is the mirror image of one above: that of the negative confidence.
    sign = -1 if middle < 0.5 else 1
    upper = max(middle, 1 - middle)
    sure, unsure = sign * confidence[right == 1], sign * confidence[right == 0]
    positive, negative = len(sure), len(unsure)
    # Neither of the two more answers wins a pair.
    lowered = upper * positive * negative / ((positive + 1) * (negative + 1))
    variance = _delong_variance(np.append(sure, -np.inf), np.append(unsure, np.inf))
    factor = max(variance / _modelled_variance(lowered, positive + 1, negative + 1), 1.0)
    low, high = score_bounds(upper, positive, negative, factor)
    return Interval(middle, low, high) if sign > 0 else Interval(middle, 1 - high, 1 - low)


def score_bounds(
    area: float, positive: int, negative: int, factor: float = 1.0
) -> tuple[float, float]:
    """Return the ends of the 95 % interval of an area under the ROC curve.

    It is method 5 of Newcombe (2006, Statistics in Medicine 25, 559). It holds every true area from
    which the measured one is at most 1.96 standard errors away, each with its own standard error,
    so that it keeps its width where the measured area is 1.

    Args:
        area: as measured.
        positive: right answers.
        negative: wrong answers.
        factor: by which the model's variance is multiplied.
    """
    from scipy.optimize import brentq

    def least(measured: float) -> float:
        def beyond(true: float) -> float:
            variance = factor * _modelled_variance(true, positive, negative)
            return float((measured - true) ** 2 - Z_95**2 * variance)

        # A true area of 1 has no variance; it is no end of the interval.
        return float(brentq(beyond, 0.0, min(measured, _BELOW_1))) if measured > 0 else 0.0

    # The variance is the same with right and wrong answers exchanged.
    return least(area), 1 - least(1 - area)


def _modelled_variance(area: float, positive: int, negative: int) -> float:
    """Return Hanley and McNeil's variance (1982), with the mean of both counts in its numerator."""
    more = (positive + negative) / 2 - 1
    shape = (1 - area) / (2 - area) + area / (1 + area)
    return area * (1 - area) * (1 + more * shape) / (positive * negative)


def _delong_variance(sure: Values, unsure: Values) -> float:
    """Return the variance of the area from the answers alone.

    Args:
        sure: confidence in two or more right answers.
        unsure: in two or more wrong ones.
    """
    from scipy.stats import rankdata

    positive, negative = len(sure), len(unsure)
    ranks = rankdata(np.concatenate([sure, unsure]))
    # For each right answer the share of wrong ones below it, and for each wrong one of right above.
    below = (ranks[:positive] - rankdata(sure)) / negative
    above = 1 - (ranks[positive:] - rankdata(unsure)) / positive
    return float(np.var(below, ddof=1) / positive + np.var(above, ddof=1) / negative)


def rank_correlation(confidence: Values, quality: Values) -> float:
    """Return Spearman's rank correlation; nan if either does not vary."""
    from scipy.stats import rankdata

    one, other = rankdata(confidence), rankdata(quality)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def correlation_interval(confidence: Values, quality: Values, *, seed: int) -> Interval | None:
    """Return Spearman's correlation with its 95 % interval; None if either does not vary.

    It is that of Fisher's z with the standard error of Bonett and Wright (2000, Psychometrika 65,
    23), sqrt((1 + r^2 / 2) / (n - 3)). In perfect order z is infinite, and a sample may have missed
    questions out of order. Each end is therefore at least as far out as it would be with one more
    question, of which the model is surest and which has the worst answer, or the best one. It is
    also at least that of a bootstrap: the error is that of a normal distribution, and too small
    where a few questions are far out of order.

    Args:
        confidence: one value per question.
        quality: one value per question.
        seed: of the bootstrap.

    Returns:
        No bounds under `FEWEST` questions.
    """

    def statistic(rows: NDArray[np.int64]) -> float:
        return rank_correlation(confidence[rows], quality[rows])

    middle = rank_correlation(confidence, quality)
    if np.isnan(middle):
        return None
    count = len(confidence)
    if count < FEWEST:
        return Interval(middle, None, None)
    surest = np.append(confidence, confidence.max() + 1)
    worse, better = (
        rank_correlation(surest, np.append(quality, extreme))
        for extreme in (quality.min() - 1, quality.max() + 1)
    )
    bounds = np.array(
        [
            _fisher_bounds(middle, count),
            _fisher_bounds(worse, count + 1),
            _fisher_bounds(better, count + 1),
            bootstrap_bounds(statistic, count, seed=seed),
        ],
        dtype=float,
    )
    return Interval(middle, float(np.nanmin(bounds)), float(np.nanmax(bounds)))


def _fisher_bounds(correlation: float, count: int) -> tuple[float, float]:
    if abs(correlation) >= _BELOW_1:
        return correlation, correlation
    z = np.arctanh(correlation)
    margin = Z_95 * np.sqrt((1 + correlation**2 / 2) / (count - 3))
    return float(np.tanh(z - margin)), float(np.tanh(z + margin))
