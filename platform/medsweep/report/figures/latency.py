"""The paper's figure 2 with intervals: response time of every configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.figures.style import (
    INK,
    MUTED,
    label_width_in,
    mark,
    new_figure,
    profile_colours,
    short_label,
    style,
    with_basis,
)
from medsweep.report.numbers import MISSING, scaled, seconds, seconds_with_spread, time_unit
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.results.aggregate import Row, headline_rows, load_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN = 0.27
_PANELS_ACROSS = 3


@dataclass(frozen=True)
class _Line:
    """One line of the figure: a profile of a model, or the model's name above them."""

    model: str
    profile: str | None
    label: str


def latency_by_configuration(rows: Sequence[Row]) -> Figure:
    """Draw mean end-to-end time per hardware profile, grouped by model; one panel per load point.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    table, points = latency_table(measured), load_points(measured)
    models = list(dict.fromkeys(row.model for row in table))
    lines, colours = _lines(table, models), profile_colours(rows)
    across = min(_PANELS_ACROSS, max(1, len(points)))
    down = max(1, math.ceil(len(points) / across))
    unit = time_unit(row.e2e.mean for row in table if row.e2e)
    with style():
        figure, panels = new_figure(
            "Response time by configuration",
            [row.basis for row in table],
            down,
            across,
            len(lines) * _ROW_IN + 0.05,
            left_in=label_width_in(line.label for line in lines),
        )
        for panel in panels[len(points) :]:
            panel.remove()
        for place, (panel, point) in enumerate(zip(panels, points, strict=False)):
            at_point = [row for row in table if row.load_point == point]
            _panel(panel, point, at_point, lines, colours, unit)
            _label(panel, lines, named=place % across == 0)
    return figure


def _lines(table: Sequence[LatencyRow], models: Sequence[str]) -> list[_Line]:
    """Return the lines from top to bottom: a model's name, then its profiles with their basis."""
    lines: list[_Line] = []
    for model in models:
        bases: dict[str, list[str]] = {}
        for row in table:
            if row.model == model:
                bases.setdefault(row.profile, []).append(row.basis)
        lines.append(_Line(model, None, short_label(model)))
        lines += [_Line(model, name, with_basis(name, each)) for name, each in bases.items()]
    return lines


def _panel(
    axes: Axes,
    point: str,
    table: Sequence[LatencyRow],
    lines: Sequence[_Line],
    colours: Mapping[str, str],
    unit: tuple[int, str],
) -> None:
    factor, name_of_unit = unit
    by_cell = {(row.model, row.profile): row for row in table}
    reach = 0.0
    for height, line in enumerate(lines):
        if line.profile is None:
            continue
        row = by_cell.get((line.model, line.profile))
        if row is None or row.e2e is None:
            axes.annotate(MISSING, (0, height), (4, 0), textcoords="offset points", va="center")
            continue
        label = (
            f"{row.model} on {row.profile} ({row.basis}), {load_in_words(point)}: "
            f"{seconds_with_spread(row.e2e)} over {row.repeats} repeats"
        )
        time = scaled(row.e2e, factor)
        reach = max(reach, _bar(axes, height, row, time, colours[row.profile], label))
    axes.set_title(load_in_words(point))
    axes.set_xlabel(f"end-to-end time, mean over repeats ({name_of_unit})")
    axes.set_xlim(0, 1.28 * reach or 1)


def _label(axes: Axes, lines: Sequence[_Line], *, named: bool) -> None:
    """Name the lines of a panel; those to the right of another have the same lines."""
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelleft=named)
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    for label, line in zip(axes.get_yticklabels() if named else (), lines, strict=False):
        if line.profile is None:
            label.set_fontweight("bold")


def _bar(
    axes: Axes, height: int, row: LatencyRow, time: Interval, colour: str, label: str
) -> float:
    """Draw one bar with its interval and figure; return how far it reaches on the axis."""
    mean, low, high = time.mean, time.low, time.high
    solid = row.basis == "observed"
    [bar] = axes.barh(
        height,
        mean,
        height=0.66,
        color=colour if solid else "white",
        edgecolor=colour,
        hatch=None if solid else "/////",
    )
    mark(bar, row.model, row.profile, label)
    end = mean
    if low is not None and high is not None:
        ends = [max(0.0, low), high]
        [line] = axes.plot(
            ends, [height, height], color=INK, marker="|", markersize=6, linewidth=1.2
        )
        mark(line, row.model, row.profile)
        end = max(mean, high)
    text = axes.annotate(
        seconds(row.e2e),
        (end, height),
        (4, 0),
        textcoords="offset points",
        va="center",
        size=8,
        color=MUTED,
    )
    mark(text, row.model, row.profile)
    return end
