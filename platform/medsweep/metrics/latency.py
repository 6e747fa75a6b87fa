"""Summaries of latencies in bounded memory: mean, percentiles and maximum."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np

from medsweep.metrics.statistics import percentile_floor

EXACT_VALUES = 200_000
RELATIVE_ERROR = 0.001
_LOG_WIDTH = math.log1p(2 * RELATIVE_ERROR / (1 - RELATIVE_ERROR))
_SMALLEST = 1e-9

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Upper bounds of the buckets of every Prometheus histogram of a latency, in seconds."""


@dataclass(frozen=True)
class LatencySummary:
    """One latency of many requests, in the unit of its values; what is not known is None.

    Attributes:
        samples: number of values.
        mean: their mean.
        p50: median; needs 11 requests.
        p90: 90th percentile; needs 64 requests.
        p95: 95th percentile; needs 130 requests.
        p99: 99th percentile; needs 662 requests.
        max: the largest value.
    """

    samples: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None


class LatencySketch:
    """Collects values of at least 0, in any one unit.

    Up to `EXACT_VALUES` values are kept and percentiles are exact. Beyond that they are counted in
    bins of equal ratio (a nanosecond to a day fill some 16,000), and percentiles are within 0.1 %
    (Masson, Rim and Lee 2019, "DDSketch"). Mean and maximum are always exact.
    """

    def __init__(self) -> None:
        self._count = 0
        self._requests = 0
        self._total = 0.0
        self._greatest = 0.0
        self._values = array("d")
        self._bins: Counter[int] = Counter()

    def add(self, *values: float | None) -> None:
        """Add the values of one request; None is not a value."""
        known = array("d", (value for value in values if value is not None))
        if not known:
            return
        self._requests += 1
        self._count += len(known)
        self._total += math.fsum(known)
        self._greatest = max(self._greatest, max(known))
        if self._bins:
            self._bins.update(_bin(value) for value in known)
            return
        self._values += known
        if len(self._values) > EXACT_VALUES:
            self._bins.update(_bin(value) for value in self._values)
            self._values = array("d")

    @property
    def mean(self) -> float | None:
        """Mean of the values so far; None without any."""
        return self._total / self._count if self._count else None

    def summary(self) -> LatencySummary:
        """Return the summary so far.

        Percentiles with too few requests behind them are None (`statistics.percentile_floor`).
        The gaps within one answer depend on each other, so requests are counted and not values.
        """
        p50, p90, p95, p99 = (
            self.quantile(p) if self._requests >= percentile_floor(p) else None
            for p in (0.50, 0.90, 0.95, 0.99)
        )
        greatest = self._greatest if self._count else None
        return LatencySummary(self._count, self.mean, p50, p90, p95, p99, greatest)

    def quantile(self, p: float) -> float | None:
        """Return the p-quantile, however few the values; None without any."""
        if not self._count:
            return None
        if not self._bins:
            return float(np.quantile(np.frombuffer(self._values), p))
        rank, passed = p * (self._count - 1), 0
        for place in sorted(self._bins):
            passed += self._bins[place]
            if passed > rank:
                # The value in the bin that is at most RELATIVE_ERROR away from all others in it.
                return min(math.exp((place + 0.5) * _LOG_WIDTH), self._greatest)
        return self._greatest


def _bin(value: float) -> int:
    return math.floor(math.log(max(value, _SMALLEST)) / _LOG_WIDTH)
