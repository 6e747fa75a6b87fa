"""A service level objective such as `ttft_p95=0.5s`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from medsweep.errors import InputError, UnknownName
from medsweep.metrics.latency import LatencySummary
from medsweep.metrics.request_record import RequestRecord
from medsweep.metrics.statistics import percentile_floor

Latency = Literal["ttft", "tpot", "e2e"]
_QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
_STATISTICS = ("mean", *_QUANTILES, "max")
_UNITS_S = {"ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Objective:
    """What a load point must meet.

    Attributes:
        latency: which latency.
        statistic: `mean`, `max` or a percentile of it.
        limit_s: the most that it may be, in seconds. A request within it counts as goodput.
    """

    latency: Latency
    statistic: str
    limit_s: float

    @property
    def name(self) -> str:
        """How it is written: `ttft_p95=0.5s`."""
        return f"{self.latency}_{self.statistic}={self.limit_s:g}s"

    @property
    def least_requests(self) -> int:
        """Measured requests that the statistic needs."""
        quantile = _QUANTILES.get(self.statistic)
        return 1 if quantile is None else percentile_floor(quantile)

    def met_by(self, record: RequestRecord) -> bool:
        """Whether one request was answered within the limit.

        An answer without a time per token, such as one of a single token, meets any limit on it.
        """
        value_s = getattr(record, f"{self.latency}_s")
        if record.status != "ok":
            return False
        return self.latency == "tpot" if value_s is None else bool(value_s <= self.limit_s)

    def hopeless(self, missed: int, requests: int) -> bool:
        """Whether the objective is certain to be missed, whatever the other requests do.

        Args:
            missed: requests over the limit, or failed.
            requests: how many will have been measured in the end.
        """
        if self.statistic == "mean":
            return False
        quantile = _QUANTILES.get(self.statistic, 1.0)
        # Of n values in order, the quantile lies at place (n - 1) q counted from 0, or between that
        # and the next; once as many missed as lie at or above it, it is over the limit itself.
        return missed >= requests - math.floor((requests - 1) * quantile)

    def met(self, summary: LatencySummary, missed: int, requests: int) -> bool:
        """Whether a load point met it; a failed request missed it."""
        value_s = getattr(summary, self.statistic)
        if value_s is None or value_s > self.limit_s:
            return False
        return not self.hopeless(missed, requests)


def parse_objective(text: str) -> Objective:
    """Parse an objective such as `ttft_p95=0.5s` or `e2e_p99=800ms`.

    Raises:
        InputError: it is not of that form, or has no unit.
        UnknownName: there is no such latency or statistic.
    """
    found = re.fullmatch(r"([a-z0-9]+)_([a-z0-9]+)=([0-9.eE+-]+?)([a-z]*)", text.strip())
    if found is None:
        raise InputError(
            f"objective {text!r}: write latency, statistic and limit as in ttft_p95=0.5s"
        )
    latency, statistic, number, unit = found.groups()
    if latency not in get_args(Latency):
        raise UnknownName("latency of an objective", latency, get_args(Latency))
    if statistic not in _STATISTICS:
        raise UnknownName("statistic of an objective", statistic, _STATISTICS)
    if unit not in _UNITS_S:
        raise InputError(f"objective {text!r}: give the limit a unit: s or ms")
    try:
        limit_s = float(number) * _UNITS_S[unit]
    except ValueError:
        raise InputError(f"objective {text!r}: {number!r} is not a number") from None
    if not 0 < limit_s < math.inf:
        raise InputError(f"objective {text!r}: the limit must be above 0")
    return Objective(latency, statistic, limit_s)  # type: ignore[arg-type]
