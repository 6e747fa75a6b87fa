"""Quality of the answers, by configuration."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import (
    BY,
    FILTER,
    LEGEND,
    SWEEP_VARIABLES,
    bars,
    column_lines,
    dashboard,
    lines,
)
from medsweep.results.schema import BENCHMARK, QUALITIES


def build() -> Any:
    """Return the dashboard."""
    columns = {column.name: column for column in BENCHMARK}
    overview = bars(
        "Token F1",
        f"avg by ({BY}, variant) (last_over_time(medsweep_token_f1{{{FILTER}}}[$__range]))",
        legend="{{variant}} of " + LEGEND,
        about="Adapter and base model, if the sweep measures both. Every profile gets the same "
        "questions; the report compares them in pairs.",
    )
    goodput = lines(
        "Goodput",
        {LEGEND: f"max by ({BY}) (medsweep_goodput_per_second{{{FILTER}}})"},
        unit="1/s",
        about="Answers per second that meet the sweep's objectives; empty if it has none.",
    )
    panels = [overview, goodput, *(column_lines(columns[name], span=8) for name in QUALITIES)]
    return dashboard("quality", "quality", panels, SWEEP_VARIABLES)
