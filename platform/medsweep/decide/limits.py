"""What a configuration must meet: bounds on columns of `benchmark.parquet`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medsweep.results.schema import LATENCIES, QUALITIES

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
USD_PER_1K = "usd_per_1k"
"""Price of 1,000 answers; the one limit that is not a column but 1,000 times one."""


@dataclass(frozen=True)
class Limit:
    """One bound.

    Attributes:
        option: as the command line writes it, without dashes: `max-p95-ttft`.
        column: that it bounds.
        is_upper: whether values must stay at or below the bound; else at or above.
        bound: in the column's unit.
    """

    option: str
    column: str
    is_upper: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.column} {'<=' if self.is_upper else '>='} {self.bound:g}"


def limit_options() -> dict[str, str]:
    """Return every option by name with the column that it bounds, as `max-p95-ttft`."""
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
