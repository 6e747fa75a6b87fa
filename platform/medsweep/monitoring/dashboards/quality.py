"""Quality: what the answers are worth, by configuration."""

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
        about="Adapter beside base model, where the sweep asks both. Every profile is asked the "
        "same questions: the report compares them in pairs.",
    )
    goodput = lines(
        "Goodput",
        {LEGEND: f"max by ({BY}) (medsweep_goodput_per_second{{{FILTER}}})"},
        unit="1/s",
        about="Answers a second within the sweep's objectives; nothing where it names none.",
    )
    panels = [overview, goodput, *(column_lines(columns[name], span=8) for name in QUALITIES)]
    return dashboard("quality", "quality", panels, SWEEP_VARIABLES)
