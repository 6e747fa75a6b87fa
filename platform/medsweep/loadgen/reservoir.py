"""Mean, percentiles and greatest of any number of values, in bounded memory."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from medsweep.metrics.latency import Summary
from medsweep.metrics.statistics import percentile_floor

EXACT_VALUES = 200_000
RELATIVE_ERROR = 0.001
_LOG_WIDTH = math.log1p(2 * RELATIVE_ERROR / (1 - RELATIVE_ERROR))
_SMALLEST = 1e-9


class Sample:
    """Takes values of at least 0, in any one unit.

    Up to `EXACT_VALUES` of them are kept and percentiles are exact. More are counted in bins of
    equal ratio, of which a nanosecond to a day fill some 16,000; percentiles are then within 0.1 %
    (Masson, Rim and Lee 2019, "DDSketch"). Mean and greatest are exact always.
    """

    def __init__(self) -> None:
        self.count = 0
        self._total = 0.0
        self._greatest = 0.0
        self._values = array("d")
        self._bins: Counter[int] = Counter()

    def add(self, values: Iterable[float | None]) -> None:
        """Take values; None is not one."""
        known = array("d", (value for value in values if value is not None))
        if not known:
            return
        self.count += len(known)
        self._total += math.fsum(known)
        self._greatest = max(self._greatest, max(known))
        if self._bins:
            self._bins.update(_bin(value) for value in known)
            return
        self._values += known
        if len(self._values) > EXACT_VALUES:
            self._bins.update(_bin(value) for value in self._values)
            self._values = array("d")

    def summary(self) -> Summary:
        """Return the summary so far; percentiles with too few values behind them are None."""
        return Summary(
            samples=self.count,
            mean=self._total / self.count if self.count else None,
            p50=self._percentile(0.50),
            p90=self._percentile(0.90),
            p95=self._percentile(0.95),
            p99=self._percentile(0.99),
            max=self._greatest if self.count else None,
        )

    def quantile(self, p: float) -> float | None:
        """Return the p-quantile of however few values; None without any."""
        if not self.count:
            return None
        if not self._bins:
            return float(np.quantile(np.frombuffer(self._values), p))
        wanted, passed = p * (self.count - 1), 0
        for place in sorted(self._bins):
            passed += self._bins[place]
            if passed > wanted:
                # The value in the bin that is at most RELATIVE_ERROR away from all others in it.
                return min(math.exp((place + 0.5) * _LOG_WIDTH), self._greatest)
        return self._greatest

    def _percentile(self, p: float) -> float | None:
        return self.quantile(p) if self.count >= percentile_floor(p) else None


def _bin(value: float) -> int:
    return math.floor(math.log(max(value, _SMALLEST)) / _LOG_WIDTH)
