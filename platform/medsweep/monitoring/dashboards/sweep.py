"""Sweep overview: progress, failures, and the main figures of each cell."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import (
    BY,
    FILTER,
    LEGEND,
    SWEEP_VARIABLES,
    bars,
    dashboard,
    grid,
    lines,
    number,
)
from medsweep.monitoring.rules import ERROR_RATIO, FAILED_SHARE

# A job's series end with its pod; their last values still count.
CELLS = 'last_over_time(medsweep_cells{sweep=~"$sweep"}[$__range])'
FINISHED = 'sum(delta(medsweep_cells{sweep=~"$sweep", state=~"ok|failed"}[$__range]))'


def build() -> Any:
    """Return the dashboard."""
    answered = f'medsweep_requests_total{{{FILTER}, status="ok"}}'
    return dashboard(
        "sweep",
        "sweep overview",
        [
            bars(
                "Cells by state",
                f"sum by (state) ({CELLS})",
                legend="{{state}}",
                about="Refused cells cannot run on their hardware; the plan gives the reasons.",
                span=8,
            ),
            number(
                "Time left",
                f'sum(medsweep_cells{{sweep=~"$sweep", state="pending"}}) * $__range_s '
                f"/ ({FINISHED} > 0)",
                unit="s",
                about="Pending cells, at the rate at which cells ended in the time shown.",
            ),
            number(
                "Time since last progress",
                'time() - max(medsweep_last_progress_timestamp_seconds{sweep=~"$sweep"})',
                unit="s",
                about="Since a request or a cell ended; does not advance in a fine-tune.",
            ),
            number(
                "Answers per second",
                f"sum(rate({answered}[$__rate_interval]))",
                unit="answers/s",
                about="Of all cells together.",
            ),
            number(
                "Basis",
                f"sum by (basis) ({answered})",
                legend="{{basis}}",
                about="Emulated: measured on other hardware than the profile names.",
            ),
            grid(
                "Answers measured",
                f"sum by (model, profile, basis) (last_over_time({answered}[$__range]))",
                about="Models by hardware profile.",
            ),
            grid(
                "Mean end-to-end time",
                "avg by (model, profile, basis) "
                f"(last_over_time(medsweep_e2e_mean_seconds{{{FILTER}}}[$__range]))",
                unit="s",
                about="Mean over the load points, of the last measurement of each.",
            ),
            lines(
                "Failed requests",
                {LEGEND: f"max by ({BY}) ({ERROR_RATIO}{{{FILTER}}})"},
                unit="share",
                limit=FAILED_SHARE,
                about="Share over five minutes. A cell fails above the sweep's max_error_rate.",
            ),
            bars(
                "Client-limited load points",
                f"max by ({BY}) (last_over_time(medsweep_client_limited{{{FILTER}}}[$__range]))",
                limit=1,
                about="1: the client could not keep up with this load.",
            ),
        ],
        SWEEP_VARIABLES,
    )
