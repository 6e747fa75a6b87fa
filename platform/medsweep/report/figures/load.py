"""Speed against load: what each configuration makes of more requests at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from medsweep.digits import significant
from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.figures.style import (
    MARKERS,
    mark,
    mark_point,
    new_figure,
    profile_colours,
    short_label,
    style,
    with_basis,
)
from medsweep.report.numbers import seconds_with_spread, time_unit
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.results.aggregate import Row, headline_rows, load_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_IN, _KEY_IN, _LEFT_IN = 1.75, 2.5, 0.6


@dataclass(frozen=True)
class _Scale:
    """What stands on the upright axis of a panel: its title and its value, a time in seconds."""

    title: str
    value: Callable[[LatencyRow], Interval | None]
    is_time: bool = True

    def unit(self, table: Sequence[LatencyRow]) -> tuple[int, str]:
        """Return the factor of its values, and its unit: the same for all models."""
        if not self.is_time:
            return 1, "1/s"
        return time_unit(value.mean for row in table if (value := self.value(row)) is not None)


def _tokens(row: LatencyRow) -> Interval | None:
    rate = row.output_tokens_per_s
    return None if rate is None else Interval(rate, None, None)


_SCALES = (
    _Scale("TTFT, mean", lambda row: row.ttft),
    _Scale("Output tokens", _tokens, is_time=False),
    _Scale("End-to-end time, mean", lambda row: row.e2e),
)


def speed_by_load(rows: Sequence[Row]) -> Figure:
    """Draw TTFT, token rate and end-to-end time by load point; a row of panels per model.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    table, points = latency_table(measured), load_points(measured)
    models = list(dict.fromkeys(row.model for row in table))
    down, colours = max(1, len(models)), profile_colours(rows)
    with style():
        figure, panels = new_figure(
            "Speed against load",
            [row.basis for row in table],
            down,
            len(_SCALES),
            _HEIGHT_IN,
            left_in=_LEFT_IN,
            right_in=_KEY_IN,
            gap_in=0.55,
        )
        filled = list(product(models, _SCALES))
        for panel in panels[len(filled) :]:
            panel.set_axis_off()
        for panel, (model, scale) in zip(panels, filled, strict=False):
            factor, unit = scale.unit(table)
            of_model = [row for row in table if row.model == model]
            _panel(panel, scale, factor, of_model, points, colours)
            head = f"{short_label(model)}\n" if scale is _SCALES[0] else ""
            panel.set_title(f"{head}{scale.title} ({unit})")
            if scale is _SCALES[-1] and panel.get_legend_handles_labels()[0]:
                panel.legend(loc="upper left", bbox_to_anchor=(1.03, 1.06), fontsize=8)
    return figure


def _panel(
    axes: Axes,
    scale: _Scale,
    factor: int,
    table: Sequence[LatencyRow],
    points: Sequence[str],
    colours: Mapping[str, str],
) -> None:
    for profile in dict.fromkeys(row.profile for row in table):
        shown = [
            (points.index(row.load_point), row, value)
            for row in table
            if row.profile == profile and (value := scale.value(row)) is not None
        ]
        if not shown:
            continue
        basis = shown[0][1].basis
        colour, model = colours[profile], shown[0][1].model
        [line] = axes.plot(
            [x for x, _, _ in shown],
            [factor * value.mean for _, _, value in shown],
            color=colour,
            marker=MARKERS[list(colours).index(profile) % len(MARKERS)],
            markersize=5,
            linewidth=1.4,
            linestyle="-" if basis == "observed" else "--",
            label=with_basis(profile, [basis]),
        )
        mark(line, model, profile)
        reaches = [
            (x, factor * max(0.0, value.low), factor * value.high)
            for x, _, value in shown
            if value.low is not None and value.high is not None
        ]
        if reaches:
            places, lows, highs = zip(*reaches, strict=True)
            mark(axes.vlines(places, lows, highs, color=colour, linewidth=1), model, profile)
        for x, row, value in shown:
            figure = (
                seconds_with_spread(value)
                if scale.is_time
                else f"{significant(value.mean)} tokens/s"
            )
            mark_point(
                axes,
                (x, factor * value.mean),
                model,
                profile,
                f"{row.model} on {profile} ({basis}), {load_in_words(row.load_point)}: {figure}",
            )
    axes.set_xticks(
        range(len(points)), [load_in_words(each).replace(" ", "\n", 1) for each in points]
    )
    axes.set_xlim(-0.3, max(1, len(points)) - 0.7)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.12)
