"""Throughput, and its price, against the speed that each user sees."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medsweep.digits import significant
from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.pareto import pareto_front
from medsweep.report.figures.labels import mark_label, place_labels
from medsweep.report.figures.style import (
    KEY_IN,
    MUTED,
    PALE,
    add_key,
    mark,
    mark_point,
    new_figure,
    profile_colours,
    short_label,
    style,
    with_basis,
)
from medsweep.report.tables.grouping import model_order, profile_order
from medsweep.report.tables.throughput import ThroughputRow, throughput_table
from medsweep.results.aggregate import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_IN, _PANELS_ACROSS, _MOST_LABELS = 2.6, 3, 16

_Point = tuple[float, float, ThroughputRow]
"""Tokens per second of one user, the value on the upright axis, and what they are of."""


@dataclass(frozen=True)
class _Scale:
    """What stands on the upright axis: its title, its value and whether more of it is better."""

    title: str
    value: Callable[[ThroughputRow], float | None]
    sign: int


_SCALES = (
    _Scale("tokens/s of the machine", lambda row: row.output_tokens_per_s, 1),
    _Scale("USD per 1M output tokens", lambda row: row.usd_per_million, -1),
)


def throughput_by_user_speed(rows: Sequence[Row]) -> Figure:
    """Draw throughput, and its price where there is one, against tokens per second per user.

    Each model has a panel of its own, because machines are compared with the same model.

    Args:
        rows: of `benchmark.parquet`.
    """
    table = [row for row in throughput_table(rows) if row.user_tokens_per_s is not None]
    models = sorted(dict.fromkeys(row.model for row in table), key=model_order)
    scales = [each for each in _SCALES if any(each.value(row) is not None for row in table)]
    across = min(_PANELS_ACROSS, max(1, len(models)))
    down = max(1, len(scales)) * math.ceil(max(1, len(models)) / across)
    colours = profile_colours(rows)
    with style():
        figure, panels = new_figure(
            "Throughput against the speed that each user sees",
            [row.basis for row in table],
            down,
            across,
            _HEIGHT_IN,
            left_in=0.75,
            right_in=KEY_IN,
            gap_in=0.65,
        )
        filled = [(scale, model) for scale in scales for model in models]
        # A row of panels has one scale.
        places = [
            panels[start + place]
            for start in range(0, len(panels), down // max(1, len(scales)) * across)
            for place in range(len(models))
        ]
        for axes, (scale, model) in zip(places, filled, strict=False):
            _panel(axes, model, [row for row in table if row.model == model], scale, colours)
        for axes in panels:
            axes.set_visible(axes in places)
        names = sorted({row.profile for row in table}, key=profile_order)
        bases = {name: [row.basis for row in table if row.profile == name] for name in names}
        labels = {name: with_basis(name, bases[name]) for name in names}
        add_key(figure, colours, labels)
    return figure


def _panel(
    axes: Axes,
    model: str,
    table: Sequence[ThroughputRow],
    scale: _Scale,
    colours: Mapping[str, str],
) -> None:
    points = [
        (row.user_tokens_per_s or 0.0, value, row)
        for row in table
        if (value := scale.value(row)) is not None
    ]
    fronts = {
        basis: pareto_front(
            [point for point in points if point[2].basis == basis],
            lambda point: (point[0], scale.sign * point[1]),
        )
        for basis in dict.fromkeys(row.basis for row in table)
    }
    for basis, front in fronts.items():
        best = sorted((x, y) for x, y, _ in front)
        axes.plot(
            [x for x, _ in best],
            [y for _, y in best],
            color=MUTED,
            linewidth=1,
            linestyle="-" if basis == "observed" else ":",
        )
    for x, y, row in points:
        solid, colour = row.basis == "observed", colours[row.profile]
        shape = axes.scatter(
            [x],
            [y],
            s=46,
            facecolor=colour if solid else "white",
            edgecolor=colour,
            alpha=1 if solid else PALE,
        )
        mark(shape, row.model, row.profile)
        mark_point(axes, (x, y), row.model, row.profile, _tip(row))
    axes.set_title(short_label(model))
    axes.set_xlabel("tokens/s of one user (1 / mean TPOT)")
    axes.set_ylabel(scale.title)
    # Room for the names of the load points at the right of the marks.
    axes.set_xlim(0, 1.15 * max((x for x, _, _ in points), default=1.0))
    axes.set_ylim(0, 1.15 * max((y for _, y, _ in points), default=1.0))
    _name_points(axes, points, [point for front in fronts.values() for point in front])


def _name_points(axes: Axes, points: Sequence[_Point], front: Sequence[_Point]) -> None:
    """Write the load beside each mark; where there are many, beside those of the front."""
    named = points if len(points) <= _MOST_LABELS else front
    labels = [(x, y, _short(row.load_point)) for x, y, row in named]
    names = place_labels(axes, labels, [(x, y) for x, y, _ in points], size=7.5, colour=MUTED)
    for name, (_, _, row) in zip(names, named, strict=True):
        mark_label(name, row.model, row.profile)


def _short(load_point: str) -> str:
    """Return a load point as it is named beside a mark: `4` clients, `2/s` of requests."""
    return re.sub(r" clients?| requests?(?=/s)", "", load_in_words(load_point))


def _tip(row: ThroughputRow) -> str:
    text = f"{row.model} on {row.profile} ({row.basis}), {load_in_words(row.load_point)}"
    if row.user_tokens_per_s is not None and row.output_tokens_per_s is not None:
        text += (
            f": {significant(row.user_tokens_per_s)} tokens/s per user, "
            f"{significant(row.output_tokens_per_s)} tokens/s in all"
        )
    if row.usd_per_million is not None:
        text += f", USD {significant(row.usd_per_million)} per 1,000,000 tokens"
    return text
