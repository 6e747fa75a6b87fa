"""Quality of the answers, by configuration."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import (
    BY,
    FILTER,
    LEGEND,
    SWEEP_VARIABLES,
    bars,
    column_bars,
    dashboard,
    folded,
)
from medsweep.results.schema import BENCHMARK, QUALITIES


def build() -> Any:
    """Return the dashboard."""
    columns = {column.name: column for column in BENCHMARK}
    overview = bars(
        "Token F1",
        f"avg by ({BY}, variant) (last_over_time(medsweep_token_f1{{{FILTER}}}[$__range]))",
        legend="{{variant}} of " + LEGEND,
        unit="share",
        about="Adapter and base model, if the sweep measures both. Every profile gets the same "
        "questions; the report compares them in pairs.",
    )
    goodput = bars(
        "Goodput",
        f"max by ({BY}) (last_over_time(medsweep_goodput_per_second{{{FILTER}}}[$__range]))",
        unit="answers/s",
        about="Answers per second that meet the sweep's objectives; empty if it has none.",
    )
    figures = folded("All figures of quality", [column_bars(columns[name]) for name in QUALITIES])
    panels = [overview, goodput, figures]
    return dashboard("quality", "quality", panels, SWEEP_VARIABLES)
