"""Percentiles that have enough samples behind them, and intervals that say what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# They bound the memory of a bootstrap over many questions, and of many bootstraps.
_DRAWS_AT_ONCE = 1_000_000
_SAMPLES_AT_ONCE = 128


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, in the unit of the values.

    Attributes:
        mean: mean of the values.
        low: lower bound; None where the values are too few for an interval.
        high: upper bound; None likewise.
    """

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference:
    """How much the second of two paired samples exceeds the first, in the unit of the values.

    Attributes:
        mean: mean of second minus first.
        low: lower bound of its confidence interval; None for a single pair.
        high: upper bound; None likewise.
        p_value: two-sided, of there being no difference; None for a single pair.
        changed: pairs whose two values differ.
        pairs: pairs compared.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    changed: int
    pairs: int


@cache
def percentile_floor(p: float) -> int:
    """Return how many samples a percentile needs: 11 for p50, 64 for p90, 662 for p99.

    Args:
        p: the quantile, between 0 and 1.

    Returns:
        The smallest n for which the second-largest of n samples lies above the p-quantile with
        99 % confidence: P(Binomial(n, 1 - p) <= 1) = p^n + n (1 - p) p^(n - 1) <= 0.01.

    Raises:
        ValueError: `p` is not between 0 and 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {p}")
    n = 2  # there is no second-largest before
    while p**n + n * (1 - p) * p ** (n - 1) > 0.01:
        n += 1
    return n


def percentile(values: Sequence[float], p: float) -> float | None:
    """Return the p-quantile of the values, interpolated linearly, in their unit.

    Args:
        values: the samples.
        p: the quantile, between 0 and 1.

    Returns:
        The quantile; None under `percentile_floor(p)` samples.

    Raises:
        ValueError: `p` is not between 0 and 1.
    """
    if len(values) < percentile_floor(p):
        return None
    return float(np.quantile(np.asarray(values, dtype=float), p))


def repeat_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean over repeats with Student's t interval, in the unit of the values.

    Args:
        values: one figure per repeat.
        confidence: share of such intervals that would cover the true mean.

    Returns:
        mean ± t(confidence, n - 1) · s / √n; no bounds for a single repeat.

    Raises:
        ValueError: there are no values.
    """
    sample = _sample(values)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Interval(mean, None, None)
    from scipy import stats

    t = stats.t.ppf((1 + confidence) / 2, len(sample) - 1)
    margin = float(t * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Interval(mean, mean - margin, mean + margin)


def bootstrap_intervals(
    values: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = 2000
) -> list[Interval]:
    """Return the means of several figures with percentile bootstrap intervals, in their units.

    Answers to one question are not independent: average them first, and let a row be a question.

    Args:
        values: shape (questions, figures); the figures of a question are drawn together.
        seed: seed of the resampling.
        confidence: share of such intervals that would cover the true mean.
        resamples: how many times to draw.

    Returns:
        One interval a figure (Efron & Tibshirani 1993, chapter 13); no bounds for one question.

    Raises:
        ValueError: there are no values.
    """
    if len(values) == 0:
        raise ValueError("there are no values to take a mean of")
    means = values.mean(axis=0)
    if len(values) < 2:
        return [Interval(float(mean), None, None) for mean in means]
    low, high = _bounds(_resampled_means(values, seed, resamples), confidence)
    return [
        Interval(float(mean), float(lower), float(upper))
        for mean, lower, upper in zip(means, low, high, strict=True)
    ]


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> PairedDifference:
    """Compare two samples over the same questions, in the unit of the values.

    Args:
        first: one value per question.
        second: one value per question, in the same order.
        seed: seed of the resampling.
        confidence: share of such intervals that would cover the true difference.
        resamples: how many times to draw; the p-value cannot be below 1 / (resamples + 1).

    Returns:
        The mean of second minus first with a percentile interval. The p-value is the share of
        resampled differences that, shifted to a mean of zero, are at least as far from it as the
        one observed (Riezler & Maxwell 2005). With a handful of pairs it is too small: look at
        `changed` and `pairs` beside it.

    Raises:
        ValueError: there are no values, or the two are not of one length.
    """
    _same_length("first", first, "second", second)
    difference = _sample(second) - _sample(first)
    found = paired_bootstraps(
        difference[:, None], seed=seed, confidence=confidence, resamples=resamples
    )
    return found[0]


def paired_bootstraps(
    differences: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = 2000
) -> list[PairedDifference]:
    """Do `paired_bootstrap` for many pairs of samples at once, with the same draws for all.

    Args:
        differences: second minus first, shape (questions, pairs of samples).
        seed: seed of the resampling.
        confidence: as there.
        resamples: as there.
    """
    found = []
    for start in range(0, differences.shape[1], _SAMPLES_AT_ONCE):
        some = differences[:, start : start + _SAMPLES_AT_ONCE]
        means = some.mean(axis=0)
        drawn = _resampled_means(some, seed, resamples) if len(some) > 1 else None
        for place, mean in enumerate(means):
            column = None if drawn is None else drawn[:, place]
            changed = int(np.count_nonzero(some[:, place]))
            found.append(_paired(float(mean), column, changed, len(some), confidence))
    return found


def _paired(
    mean: float, drawn: NDArray[np.float64] | None, changed: int, pairs: int, confidence: float
) -> PairedDifference:
    """Return what the resampled means of a difference say of it; None is a single pair's."""
    if drawn is None:
        return PairedDifference(mean, None, None, None, changed, pairs)
    low, high = (float(bound) for bound in _bounds(drawn, confidence))
    # The tolerance keeps draws that equal the observed difference up to rounding.
    extreme = int(np.count_nonzero(np.abs(drawn - mean) >= abs(mean) - 1e-12))
    return PairedDifference(mean, low, high, (extreme + 1) / (len(drawn) + 1), changed, pairs)


def _resampled_means(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Draw as many rows as there are, `resamples` times, and return the mean of each draw.

    Args:
        values: shape (rows, figures).
        seed: of the draws.
        resamples: how many draws.

    Returns:
        Shape (resamples, figures).
    """
    rng = np.random.default_rng(seed)
    count = len(values)
    block = max(1, _DRAWS_AT_ONCE // count)
    means = []
    for done in range(0, resamples, block):
        draws = min(block, resamples - done)
        drawn = rng.integers(count, size=(draws, count)) + np.arange(draws)[:, None] * count
        # How often each row was drawn: the means of all figures are then one matrix product.
        weights = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        means.append(weights @ values / count)
    return np.concatenate(means)


def _bounds(
    means: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def _sample(values: Sequence[float]) -> NDArray[np.float64]:
    if len(values) == 0:
        raise ValueError("there are no values to take a mean of")
    return np.asarray(values, dtype=float)


def _same_length(name: str, values: Any, other_name: str, other: Any) -> None:
    if len(values) != len(other):
        raise ValueError(
            f"{name} and {other_name} belong together one by one, "
            f"but there are {len(values)} and {len(other)} of them"
        )
