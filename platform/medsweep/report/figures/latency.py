"""The paper's figure 2 with intervals: response time of every configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medsweep.report.figures.style import INK, MUTED, PALETTE, new_figure, style, with_basis
from medsweep.report.numbers import significant
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.rows import Row, headline_rows, load_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN = 0.27
_PANELS_ACROSS = 3


def latency_by_configuration(rows: Sequence[Row]) -> Figure:
    """Draw mean end-to-end time per hardware profile, grouped by model; one panel a load point.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    table, points = latency_table(measured), load_points(measured)
    models = list(dict.fromkeys(row.model for row in table))
    lines = _lines(table, models)
    across = min(_PANELS_ACROSS, max(1, len(points)))
    down = max(1, math.ceil(len(points) / across))
    with style():
        figure = new_figure(
            "Response time by configuration",
            [row.basis for row in table],
            down * (len(lines) * _ROW_IN + 0.9),
        )
        panels = figure.subplots(down, across, squeeze=False, sharey=True).flat
        for panel in panels:
            panel.set_visible(False)
        for panel, point in zip(figure.axes, points, strict=False):
            panel.set_visible(True)
            _panel(panel, point, [row for row in table if row.load_point == point], lines, models)
    return figure


def _lines(table: Sequence[LatencyRow], models: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return the lines from top to bottom: a model's name, then its profiles."""
    lines: list[tuple[str, str | None]] = []
    for model in models:
        lines.append((model, None))
        lines += dict.fromkeys((model, row.profile) for row in table if row.model == model)
    return lines


def _panel(
    axes: Axes,
    point: str,
    table: Sequence[LatencyRow],
    lines: Sequence[tuple[str, str | None]],
    models: Sequence[str],
) -> None:
    found = {(row.model, row.profile): row for row in table}
    labels, reach = [], 0.0
    for height, (model, profile) in enumerate(lines):
        if profile is None:
            labels.append(model)
            continue
        row = found.get((model, profile))
        labels.append(with_basis(profile, [row.basis if row else None]))
        if row is None or row.e2e is None:
            axes.annotate("–", (0, height), (4, 0), textcoords="offset points", va="center")
            continue
        reach = max(reach, _bar(axes, height, row, PALETTE[models.index(model) % len(PALETTE)]))
    axes.set_title(f"Load point {point}")
    axes.set_xlabel("end-to-end time, mean over repeats (s)")
    axes.set_xlim(0, 1.28 * reach or 1)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(lines)), labels)
    for label, (_, profile) in zip(axes.get_yticklabels(), lines, strict=True):
        if profile is None:
            label.set_fontweight("bold")


def _bar(axes: Axes, height: int, row: LatencyRow, colour: str) -> float:
    """Draw one bar with its interval and figure; return how far it reaches, in seconds."""
    assert row.e2e is not None  # noqa: S101 - the caller looked
    mean, low, high = row.e2e.mean, row.e2e.low, row.e2e.high
    real = row.basis == "observed"
    axes.barh(
        height,
        mean,
        height=0.66,
        color=colour if real else "white",
        edgecolor=colour,
        hatch=None if real else "/////",
    )
    end = mean
    if low is not None and high is not None:
        ends = [[mean - max(0.0, low)], [high - mean]]
        axes.errorbar(mean, height, xerr=ends, color=INK, capsize=2.5, elinewidth=1.2)
        end = max(mean, high)
    axes.annotate(
        f"{significant(mean)} s",
        (end, height),
        (4, 0),
        textcoords="offset points",
        va="center",
        size=8,
        color=MUTED,
    )
    return end
