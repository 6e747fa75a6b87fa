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
_UNLIKELY = 0.01
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

    def met_by(self, record: RequestRecord) -> bool | None:
        """Whether one request was answered within the limit.

        None where an answer has no time per token: it is one token, or its tokens came together.
        """
        value_s = getattr(record, f"{self.latency}_s")
        if record.status != "ok":
            return False
        if value_s is None:
            return None if self.latency == "tpot" else False
        return bool(value_s <= self.limit_s)

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

    def met(
        self, summary: LatencySummary, missed: int, requests: int, unknown: int = 0
    ) -> bool | None:
        """Whether a load point met it; None where it has too few requests to tell.

        A percentile is met for certain where no request missed, since the maximum is then within
        the limit. Under `least_requests` it is missed only where this many misses, or more,
        would occur in at most 1 % of loads that are within the limit (binomial).

        Args:
            summary: of the answered requests.
            missed: requests over the limit, or failed.
            requests: how many were measured.
            unknown: answers without the time that is limited; the verdict is known only where it
                is the same whether they met the limit or missed it.
        """
        if unknown:
            if self.hopeless(missed, requests):
                return False
            certain = self.statistic != "mean" and requests >= self.least_requests
            return True if certain and not self.hopeless(missed + unknown, requests) else None
        if not missed:
            return True
        value_s: float | None = getattr(summary, self.statistic)
        if self.statistic == "mean":
            return value_s is not None and value_s <= self.limit_s
        if requests < self.least_requests:
            above = 1 - _QUANTILES[self.statistic]
            return False if _tail(missed, requests, above) <= _UNLIKELY else None
        if self.hopeless(missed, requests) or (value_s is not None and value_s > self.limit_s):
            return False
        # Failures may leave too few answers for the percentile; the counts alone decide then.
        return value_s is not None or not self.hopeless(missed + 1, requests)


def _tail(count: int, n: int, p: float) -> float:
    """Return P(Binomial(n, p) >= count)."""
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count, n + 1))


def parse_objective(text: str) -> Objective:
    """Parse an objective such as `ttft_p95=0.5s` or `e2e_p99=800ms`.

    Raises:
        InputError: it is not of that form, or has no unit.
        UnknownName: there is no such latency or statistic.
    """
    match = re.fullmatch(r"([a-z0-9]+)_([a-z0-9]+)=([0-9.eE+-]+?)([a-z]*)", text.strip())
    if match is None:
        raise InputError(
            f"objective {text!r}: write latency, statistic and limit as in ttft_p95=0.5s"
        )
    latency, statistic, number, unit = match.groups()
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
