"""What there is to choose between: quality against latency, with the best trade-offs joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medsweep.report.figures.style import (
    INK,
    MARKERS,
    MUTED,
    PALETTE,
    add_panels,
    new_figure,
    short_label,
    style,
    tip_at,
)
from medsweep.report.numbers import seconds, share, significant
from medsweep.report.tables.decision import DecisionRow
from medsweep.results.aggregate import BASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_IN = 4.2


def tradeoff(table: Sequence[DecisionRow]) -> Figure:
    """Draw token F1 by mean end-to-end time of every configuration; one panel a basis.

    Args:
        table: of `decision_table`.
    """
    shown = [row for row in table if row.token_f1 is not None and row.e2e is not None]
    bases = [basis for basis in BASES if any(row.basis == basis for row in shown)]
    models = list(dict.fromkeys(row.model for row in shown))
    with style():
        figure = new_figure(
            "Token F1 against end-to-end time: up and to the left is better",
            [row.basis for row in shown],
            _HEIGHT_IN,
        )
        panels = add_panels(figure, 1, max(1, len(bases)), left_in=0.7, gap_in=0.8, below_in=0.85)
        for axes, basis in zip(panels, bases, strict=False):
            _panel(axes, [row for row in shown if row.basis == basis], models)
            axes.set_title(basis)
    return figure


def _panel(axes: Axes, rows: Sequence[DecisionRow], models: Sequence[str]) -> None:
    for place, model in enumerate(models):
        points = [
            (row.e2e.mean, row.token_f1.mean)
            for row in rows
            if row.model == model and row.e2e and row.token_f1
        ]
        if points:
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                color=PALETTE[place % len(PALETTE)],
                marker=MARKERS[place % len(MARKERS)],
                s=46,
                label=short_label(model),
            )
    for row in rows:
        if row.e2e and row.token_f1:
            tip_at(axes, (row.e2e.mean, row.token_f1.mean), _tip(row))
    front = sorted(
        (row.e2e.mean, row.token_f1.mean, row.profile)
        for row in rows
        if row.on_front and row.e2e and row.token_f1
    )
    # What is among the best for its price alone has a name and is not on the line.
    edge = [(x, y) for x, y, _ in front if y > max((w for v, w, _ in front if v < x), default=-1.0)]
    axes.plot([x for x, _ in edge], [y for _, y in edge], color=MUTED, linewidth=1)
    for x, y, profile in front:
        axes.annotate(profile, (x, y), (5, 6), textcoords="offset points", size=8, color=INK)
    axes.set_xlabel("mean end-to-end time at the lightest load point (s)")
    axes.set_ylabel("token F1, mean")
    # Room for the names at the right of the marks.
    axes.set_xlim(0, 1.35 * max((row.e2e.mean for row in rows if row.e2e), default=1.0))
    axes.margins(y=0.25)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=8)


def _tip(row: DecisionRow) -> str:
    label = f"{row.model} on {row.profile} ({row.basis})"
    if row.token_f1 and row.e2e:
        label += f": token F1 {share(row.token_f1.mean)}, end-to-end {seconds(row.e2e.mean)}"
    if row.usd_per_1k is not None:
        label += f", USD {significant(row.usd_per_1k)} per 1,000 answers"
    return label + (", a best trade-off" if row.on_front else "")
