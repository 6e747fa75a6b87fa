"""What there is to choose between: quality against latency, with the best trade-offs joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medsweep.digits import significant
from medsweep.report.figures.labels import mark_label, place_labels
from medsweep.report.figures.style import (
    KEY_IN,
    MUTED,
    add_key,
    mark,
    mark_point,
    marker_of,
    new_figure,
    profile_colours,
    short_label,
    style,
)
from medsweep.report.numbers import seconds, share, time_unit
from medsweep.report.tables.decision import DecisionRow, decision_table
from medsweep.report.tables.grouping import profile_order
from medsweep.results.aggregate import BASES, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_IN = 3.35


def tradeoff(rows: Sequence[Row]) -> Figure:
    """Draw token F1 by mean end-to-end time of every configuration; one panel a basis.

    Args:
        rows: of `benchmark.parquet`.
    """
    shown = [
        row for row in decision_table(rows) if row.token_f1 is not None and row.e2e is not None
    ]
    bases = [basis for basis in BASES if any(row.basis == basis for row in shown)]
    models = list(dict.fromkeys(row.model for row in shown))
    colours = profile_colours(rows)
    unit = time_unit(row.e2e.mean for row in shown if row.e2e)
    with style():
        figure, panels = new_figure(
            "Token F1 against end-to-end time: up and to the left is better",
            [row.basis for row in shown],
            1,
            max(1, len(bases)),
            _HEIGHT_IN,
            left_in=0.7,
            right_in=KEY_IN,
            gap_in=0.8,
        )
        for axes, basis in zip(panels, bases, strict=False):
            _panel(axes, [row for row in shown if row.basis == basis], models, colours, unit)
            axes.set_title(basis)
        names = sorted({row.profile for row in shown}, key=profile_order)
        add_key(figure, colours, {name: short_label(name) for name in names}, models)
    return figure


def _panel(
    axes: Axes,
    rows: Sequence[DecisionRow],
    models: Sequence[str],
    colours: Mapping[str, str],
    unit: tuple[int, str],
) -> None:
    factor, name_of_unit = unit
    places = [
        (factor * row.e2e.mean, row.token_f1.mean, row) for row in rows if row.e2e and row.token_f1
    ]
    for x, y, row in places:
        point = axes.scatter(
            [x], [y], color=colours[row.profile], marker=marker_of(models, row.model), s=46
        )
        mark(point, row.model, row.profile)
        mark_point(axes, (x, y), row.model, row.profile, _tip(row))
    front = sorted((x, y, row.model, row.profile) for x, y, row in places if row.on_front)
    # What is among the best for its price alone has a name and is not on the line.
    edge = [
        (x, y) for x, y, *_ in front if y > max((w for v, w, *_ in front if v < x), default=-1.0)
    ]
    axes.plot([x for x, _ in edge], [y for _, y in edge], color=MUTED, linewidth=1)
    axes.set_xlabel(f"mean end-to-end time at the lightest load point ({name_of_unit})")
    axes.set_ylabel("token F1, mean")
    # Room for the names at the right of the marks.
    axes.set_xlim(0, 1.35 * max((x for x, _, _ in places), default=1.0))
    # The floor of F1 is 0; above the marks there is room for the names.
    axes.set_ylim(0, 1.2 * max((y for _, y, _ in places), default=1.0))
    marks = [(x, y) for x, y, _ in places]
    names = place_labels(axes, [(x, y, short_label(profile)) for x, y, _, profile in front], marks)
    for name, (*_, model, profile) in zip(names, front, strict=True):
        mark_label(name, model, profile)


def _tip(row: DecisionRow) -> str:
    label = f"{row.model} on {row.profile} ({row.basis})"
    if row.token_f1 and row.e2e:
        label += f": token F1 {share(row.token_f1)}, end-to-end {seconds(row.e2e)}"
    if row.usd_per_1k is not None:
        label += f", USD {significant(row.usd_per_1k)} per 1,000 answers"
    return label + (", a best trade-off" if row.on_front else "")
