"""Latency by configuration: quantiles, and the whole distribution over time."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import (
    BY,
    FILTER,
    SWEEP_VARIABLES,
    bars,
    dashboard,
    heat,
)
from medsweep.monitoring.rules import recorded

TITLES = {
    "ttft": "Time to first token",
    "inter_token": "Time between tokens",
    "e2e": "End-to-end time",
}


def build() -> Any:
    """Return the dashboard."""
    panels = []
    for latency, title in TITLES.items():
        panels.append(
            bars(
                f"{title}, 95th percentile",
                f"max by ({BY}) (last_over_time({recorded(latency, 'p95')}{{{FILTER}}}[$__range]))",
                unit="s",
                about="By configuration, over its run, from the buckets of a histogram: the report "
                "has it from every request.",
            )
        )
        panels.append(
            heat(
                f"{title}, distribution",
                f"medsweep_{latency}_seconds{{{FILTER}}}",
                about="Requests by bucket, all chosen configurations together.",
            )
        )
    throughput = {
        "Answers": ("medsweep_requests_per_second", "answers/s"),
        "Output tokens": ("medsweep_output_tokens_per_second", "tokens/s"),
    }
    for title, (metric, unit) in throughput.items():
        panels.append(
            bars(
                f"{title} per second",
                f"max by ({BY}) (last_over_time({metric}{{{FILTER}}}[$__range]))",
                unit=unit,
                about="Of the last measurement.",
            )
        )
    return dashboard("latency", "latency by configuration", panels, SWEEP_VARIABLES)
