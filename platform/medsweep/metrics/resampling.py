"""Intervals and tests over questions, for figures of quality, which lie between 0 and 1.

Answers to one question are not independent: average them first, and let a row be a question.
docs/statistics.md shows by simulation how often the intervals cover the truth, and how often the
test calls a difference that is none.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.statistics import Interval

_CONFIDENCE = 0.95
# Draws for the interval of a figure that is no mean.
_RESAMPLES = 1000
# They bound the memory of a bootstrap over many questions, and of many bootstraps.
_DRAWS_AT_ONCE = 1_000_000
_FIGURES_AT_ONCE = 128

FEWEST_PAIRS = 6
"""Under six pairs no difference has a p-value of at most 0.05: if all five gain, it is 2 / 32."""

# An interval allows for this many extreme questions that a sample missed. Two cover at least
# 93 % whatever share of questions is extreme: a sample has none of a share of 2.6 / n in 7 %.
_EXTREMES = 2

# A difference allows for a share of answers that changed and that a sample misses in 7 %.
_UNSEEN = 0.07
# Up to here an answer hardly changed; from this share of such answers on, changes are rare.
_HARDLY = 0.05
_MOST = 0.7

# Up to here every pattern of signs is tried; beyond, some are drawn.
_EXACT_PAIRS = 12
# Differences and standard errors below this are rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedDifference:
    """How much the second of two paired samples exceeds the first.

    Attributes:
        mean: mean of second minus first.
        low: lower bound of its confidence interval; None for a single pair.
        high: upper bound; None in the same case.
        p_value: two-sided, of there being no difference; None under `FEWEST_PAIRS` pairs.
        changed: pairs whose two values differ.
        pairs: pairs compared.
        error: standard error of the mean; None for a single pair.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    changed: int
    pairs: int
    error: float | None = None


def share_interval(
    successes: int, trials: int, confidence: float = _CONFIDENCE
) -> tuple[float, float]:
    """Return the exact interval of a share (Clopper & Pearson 1934).

    It covers the truth at least as often as it says, whatever the share. Wilson's interval does so
    on average only: for a true share of 0.05 and 10 trials it covers in 91.5 %.

    Args:
        successes: how many.
        trials: out of how many; at least 1.
        confidence: share of such intervals that cover the true share, at least.
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)


def mean_intervals(
    values: NDArray[np.float64], *, seed: int, resamples: int = 2000
) -> list[Interval]:
    """Return the means of several figures with their 95 % intervals.

    A figure that is 0 or 1 for every question is a share and has its exact interval. Every other
    has a bootstrap-t interval (Efron & Tibshirani 1993, section 12.5), widened on each side to
    Student's interval as it would be with two more questions, answered with 0 or with 1: a small
    sample of skewed values often misses the rare extreme ones, and both intervals are then too
    short.

    Args:
        values: from 0 to 1, shape (questions, figures); a question's figures are drawn together.
        seed: seed of the resampling.
        resamples: how many times to draw.

    Returns:
        One interval per figure; no bounds for one question.

    Raises:
        ValueError: there are no values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("there are no values to take a mean of")
    if count < 2:
        return [Interval(float(mean), None, None) for mean in values.mean(axis=0)]
    low, high = _bootstrap_t(values, seed, _CONFIDENCE, resamples)
    means = values.mean(axis=0)
    low, high = _widened(values, low, high)
    intervals = []
    for place, mean in enumerate(means):
        bounds = max(float(low[place]), 0.0), min(float(high[place]), 1.0)
        if np.isin(values[:, place], (0.0, 1.0)).all():
            bounds = share_interval(round(mean * count), count)
        intervals.append(Interval(float(mean), *bounds))
    return intervals


def known_intervals(values: NDArray[np.float64], *, seed: int) -> list[Interval | None]:
    """Return the means of figures with their intervals, each over the questions that have it.

    Args:
        values: as of `mean_intervals`; nan where a question lacks a figure.
        seed: seed of the resampling.

    Returns:
        One interval per figure; None if no question has it.
    """
    known = ~np.isnan(values)
    full = known.all(axis=0) & known.any(axis=0)
    intervals: list[Interval | None] = [None] * values.shape[1]
    if full.any():
        drawn = mean_intervals(values[:, full], seed=seed)
        for place, interval in zip(np.flatnonzero(full), drawn, strict=True):
            intervals[place] = interval
    for place in np.flatnonzero(~full & known.any(axis=0)):
        [intervals[place]] = mean_intervals(values[known[:, place], place, None], seed=seed)
    return intervals


def bootstrap_bounds(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64] | float],
    count: int,
    *,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the 95 % percentile interval of figures that are no means.

    Args:
        statistic: of the rows with these numbers; one figure or several, nan where there is none.
        count: rows there are.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(count, size=count)) for _ in range(_RESAMPLES)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a figure that no draw has
        low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return np.asarray(low), np.asarray(high)


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, seed: int
) -> PairedDifference:
    """Compare two samples over the same questions: `paired_differences` of one.

    Args:
        first: one value per question, from 0 to 1.
        second: one value per question, in the same order.
        seed: seed of the resampling.

    Raises:
        ValueError: there are no values, or the two are not of one length.
    """
    if len(first) != len(second):
        raise ValueError(
            "first and second must have the same length, "
            f"but there are {len(first)} and {len(second)} of them"
        )
    if len(first) == 0:
        raise ValueError("there are no values to take a mean of")
    difference = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    (only,) = paired_differences(difference[:, None], seed=seed)
    return only


def paired_differences(
    differences: NDArray[np.float64],
    *,
    seed: int,
    confidence: float = _CONFIDENCE,
    resamples: int = 2000,
) -> list[PairedDifference]:
    """Compare many pairs of samples, with the same draws for all.

    The interval is the wider of bootstrap-t and Student's on each side, and reaches at least to the
    mean that there would be if a share 1 - 0.07^(1/n) of the questions had changed as much as the
    one that changed most: 7 % of samples miss a share this large. Where 70 % of the questions
    hardly changed (by at most 0.05), changes are rare, and those that were missed may be complete
    changes from right to wrong. Where no question differs, the bounds are what this number of equal
    pairs still allows.

    The p-value is that of the sign-flip permutation test of the mean: if nothing is different, a
    question's two answers could as well have been given the other way round (Fisher 1935). It is
    exact for up to 12 pairs; beyond, signs are drawn, and it cannot be below 1 / (resamples + 1).

    Args:
        differences: second minus first, from -1 to 1, shape (questions, pairs of samples).
        seed: seed of the resampling.
        confidence: share of such intervals that cover the true difference.
        resamples: how many times to draw.
    """
    results: list[PairedDifference] = []
    for start in range(0, differences.shape[1], _FIGURES_AT_ONCE):
        block = differences[:, start : start + _FIGURES_AT_ONCE]
        results += _paired(block, seed, confidence, resamples)
    return results


def _paired(
    differences: NDArray[np.float64], seed: int, confidence: float, resamples: int
) -> list[PairedDifference]:
    count = len(differences)
    means = differences.mean(axis=0)
    changed = np.count_nonzero(differences, axis=0)
    if count < 2:
        return [
            PairedDifference(float(mean), None, None, None, int(some), count)
            for mean, some in zip(means, changed, strict=True)
        ]
    low, high = _bootstrap_t(differences, seed, confidence, resamples)
    low, high = _allowing(differences, low, high, confidence)
    errors = differences.std(axis=0, ddof=1) / np.sqrt(count)
    p_values = _sign_flips(differences, seed, resamples)
    # If a greater share differed, this number of pairs without a difference would be too lucky.
    _, unseen = share_interval(0, count, confidence)
    return [
        PairedDifference(
            float(means[place]),
            max(float(low[place]), -1.0) if changed[place] else -unseen,
            min(float(high[place]), 1.0) if changed[place] else unseen,
            float(p_values[place]) if count >= FEWEST_PAIRS else None,
            int(changed[place]),
            count,
            float(errors[place]),
        )
        for place in range(len(means))
    ]


def _bootstrap_t(
    values: NDArray[np.float64], seed: int, confidence: float, resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds of each column's mean; infinite where a draw without spread decides."""
    count = len(values)
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(count)
    drawn_mean, drawn_error = _draws(values, seed, resamples)
    distance = drawn_mean - mean
    distance[np.abs(distance) < _ROUNDING] = 0.0
    drawn_error[drawn_error < _ROUNDING] = 0.0
    # A draw without spread that misses the mean is infinitely many standard errors away from it.
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(distance / drawn_error, nan=0.0, posinf=np.inf, neginf=-np.inf)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    lowest, highest = np.quantile(t, tails, axis=0, method="inverted_cdf")
    with np.errstate(invalid="ignore"):
        low, high = mean - highest * error, mean - lowest * error
    return np.where(error > 0, low, mean), np.where(error > 0, high, mean)


def _draws(
    values: NDArray[np.float64], seed: int, resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw as many rows as there are, `resamples` times.

    Returns:
        Mean and standard error of each draw, each of shape (resamples, figures).
    """
    rng = np.random.default_rng(seed)
    count, squares = len(values), values**2
    block = max(1, _DRAWS_AT_ONCE // count)
    means, errors = [], []
    for done in range(0, resamples, block):
        draws = min(block, resamples - done)
        rows = rng.integers(count, size=(draws, count)) + np.arange(draws)[:, None] * count
        # How often each row was drawn: the means of all figures are then one matrix product.
        weights = np.bincount(rows.ravel(), minlength=draws * count).reshape(draws, count)
        mean = weights @ values / count
        variance = np.maximum(weights @ squares / count - mean**2, 0.0)
        means.append(mean)
        errors.append(np.sqrt(variance / (count - 1)))
    return np.concatenate(means), np.concatenate(errors)


def _student_margin(values: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Return half the width of Student's interval of each column's mean."""
    from scipy.stats import t

    count = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(count)
    return np.asarray(t.ppf((1 + confidence) / 2, count - 1) * error)


def _widened(
    values: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds, at least as far out as Student's with more values of 0 or of 1.

    A bound of the bootstrap is infinite where too many draws have no spread; Student's replaces it.
    """
    means = values.mean(axis=0)
    margins = [
        _student_margin(
            np.vstack([values, np.full((_EXTREMES, values.shape[1]), extreme)]), _CONFIDENCE
        )
        for extreme in (0.0, 1.0)
    ]
    low = np.where(np.isfinite(low), low, means)
    high = np.where(np.isfinite(high), high, means)
    return np.minimum(low, means - margins[0]), np.maximum(high, means + margins[1])


def _allowing(
    differences: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds, at least as far out as Student's and as changes that were missed allow.

    A bound of the bootstrap is infinite where too many draws have no spread; Student's replaces it.
    """
    means, margin = differences.mean(axis=0), _student_margin(differences, confidence)
    share = 1 - _UNSEEN ** (1 / len(differences))
    changes = np.abs(differences)
    typical = np.quantile(changes, _MOST, axis=0, method="inverted_cdf")
    missed = np.where(typical <= _HARDLY, 1.0, changes.max(axis=0))
    low = np.minimum(np.where(np.isfinite(low), low, means), means - margin)
    high = np.maximum(np.where(np.isfinite(high), high, means), means + margin)
    return (
        np.minimum(low, (1 - share) * means - share * missed),
        np.maximum(high, (1 - share) * means + share * missed),
    )


def _sign_flips(differences: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Return the two-sided p-value of each column's mean being 0."""
    count = len(differences)
    limit = np.abs(differences.sum(axis=0)) - _ROUNDING
    if count <= _EXACT_PAIRS:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return np.asarray((np.abs((1 - 2 * patterns) @ differences) >= limit).mean(axis=0))
    rng = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // count)
    extreme = np.zeros(differences.shape[1])
    for done in range(0, resamples, block):
        draws = min(block, resamples - done)
        signs = 1.0 - 2.0 * rng.integers(2, size=(draws, count))
        extreme += (np.abs(signs @ differences) >= limit).sum(axis=0)
    return (extreme + 1) / (resamples + 1)
