"""Limits on columns of `benchmark.parquet` that a configuration must meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medsweep.results.schema import LATENCIES, QUALITIES

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
USD_PER_1K = "usd_per_1k"
"""Price of 1,000 answers: 1,000 times the column `usd_per_answer`."""


@dataclass(frozen=True)
class Limit:
    """One bound.

    Attributes:
        option: of the command line, without dashes: `max-p95-ttft`.
        column: the column.
        is_upper: whether values must be at most the bound, rather than at least.
        bound: in the column's unit.
    """

    option: str
    column: str
    is_upper: bool
    bound: float


def limit_options() -> dict[str, str]:
    """Return the column that each option limits, by names such as `max-p95-ttft`."""
    latencies = {
        f"max-{statistic}-{name.replace('_', '-')}": f"{name}_{statistic}_s"
        for name in LATENCIES
        for statistic in STATISTICS
    }
    qualities = {f"min-{name.replace('_', '-')}": name for name in QUALITIES}
    return {**latencies, **qualities, "max-usd-per-1k": USD_PER_1K}


def make_limits(given: Mapping[str, float]) -> list[Limit]:
    """Return the limits.

    Args:
        given: bound by option, such as `{"max-p95-ttft": 0.5}`.
    """
    columns = limit_options()
    return [
        Limit(option, columns[option], option.startswith("max-"), bound)
        for option, bound in given.items()
    ]
