"""Percentiles that have enough samples behind them, and intervals that say what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval, in the unit of the values.

    Attributes:
        mean: mean of the values.
        low: lower bound; None where the values are too few for an interval.
        high: upper bound; None in the same case.
        both: the values where there are two, which are too few for bounds; else None.
    """

    mean: float
    low: float | None
    high: float | None
    both: tuple[float, float] | None = None


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


def repeat_interval(values: Sequence[float]) -> Interval:
    """Return the mean over repeats with Student's 95 % interval, in the unit of the values.

    Args:
        values: one figure per repeat.

    Returns:
        mean ± t(0.975, n - 1) · s / √n; no bounds for a single repeat, and both values for
        two, whose spread tells next to nothing (t is 12.7). Where all values are above 0, the same
        interval of the mean's logarithm (delta method), so that that of a time or a rate stays
        above 0: mean · exp(± t · s / (mean · √n)).

    Raises:
        ValueError: there are no values.
    """
    sample = _sample(values)
    mean = float(sample.mean())
    if len(sample) < 3:
        both = (float(sample[0]), float(sample[1])) if len(sample) == 2 else None
        return Interval(mean, None, None, both)
    from scipy import stats

    t = stats.t.ppf(0.975, len(sample) - 1)
    margin = float(t * sample.std(ddof=1) / np.sqrt(len(sample)))
    if sample.min() > 0:
        factor = float(np.exp(margin / mean))
        return Interval(mean, mean / factor, mean * factor)
    return Interval(mean, mean - margin, mean + margin)


def _sample(values: Sequence[float]) -> NDArray[np.float64]:
    if len(values) == 0:
        raise ValueError("there are no values to take a mean of")
    return np.asarray(values, dtype=float)
