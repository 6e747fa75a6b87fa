"""Speed against load: what each configuration makes of more requests at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from medsweep.metrics.statistics import Interval
from medsweep.report.figures.style import (
    MARKERS,
    add_panels,
    mark,
    mark_point,
    new_figure,
    profile_colours,
    short_label,
    style,
    with_basis,
)
from medsweep.report.numbers import seconds_with_spread, significant
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.results.aggregate import Row, headline_rows, load_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_IN, _KEY_IN, _LEFT_IN = 1.75, 2.5, 0.6

Figures = Callable[[LatencyRow], Interval | None]


def _tokens(row: LatencyRow) -> Interval | None:
    rate = row.output_tokens_per_s
    return None if rate is None else Interval(rate, None, None)


_PANELS: dict[str, tuple[str, Figures]] = {
    "TTFT, mean (s)": (" s", lambda row: row.ttft),
    "Output tokens (1/s)": (" tokens/s", _tokens),
    "End-to-end time, mean (s)": (" s", lambda row: row.e2e),
}


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
        figure = new_figure(
            "Speed against load",
            [row.basis for row in table],
            down * (_HEIGHT_IN + 0.85),
        )
        panels = add_panels(
            figure, down, len(_PANELS), left_in=_LEFT_IN, right_in=_KEY_IN, gap_in=0.55
        )
        for panel in panels[len(models) * len(_PANELS) :]:
            panel.set_axis_off()
        for place, panel in enumerate(panels[: len(models) * len(_PANELS)]):
            model = models[place // len(_PANELS)]
            title = list(_PANELS)[place % len(_PANELS)]
            _panel(panel, title, [row for row in table if row.model == model], points, colours)
            if place % len(_PANELS) == 0:
                panel.set_title(f"{short_label(model)}\n{title}")
            is_last = place % len(_PANELS) == len(_PANELS) - 1
            if is_last and panel.get_legend_handles_labels()[0]:
                panel.legend(loc="upper left", bbox_to_anchor=(1.03, 1.06), fontsize=8)
    return figure


def _panel(
    axes: Axes,
    title: str,
    table: Sequence[LatencyRow],
    points: Sequence[str],
    colours: Mapping[str, str],
) -> None:
    unit, figure_of = _PANELS[title]
    for profile in dict.fromkeys(row.profile for row in table):
        shown = [
            (points.index(row.load_point), row, value)
            for row in table
            if row.profile == profile and (value := figure_of(row)) is not None
        ]
        if not shown:
            continue
        basis = shown[0][1].basis
        colour, model = colours[profile], shown[0][1].model
        [line] = axes.plot(
            [x for x, _, _ in shown],
            [value.mean for _, _, value in shown],
            color=colour,
            marker=MARKERS[list(colours).index(profile) % len(MARKERS)],
            markersize=5,
            linewidth=1.4,
            linestyle="-" if basis == "observed" else "--",
            label=with_basis(profile, [basis]),
        )
        mark(line, model, profile)
        reaches = [
            (x, max(0.0, value.low), value.high)
            for x, _, value in shown
            if value.low is not None and value.high is not None
        ]
        if reaches:
            places, lows, highs = zip(*reaches, strict=True)
            mark(axes.vlines(places, lows, highs, color=colour, linewidth=1), model, profile)
        for x, row, value in shown:
            figure = (
                seconds_with_spread(value) if unit == " s" else f"{significant(value.mean)}{unit}"
            )
            mark_point(
                axes,
                (x, value.mean),
                model,
                profile,
                f"{row.model} on {profile} ({basis}), {row.load_point}: {figure}",
            )
    axes.set_title(title)
    axes.set_xticks(range(len(points)), points)
    axes.set_xlim(-0.3, max(1, len(points)) - 0.7)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.12)
