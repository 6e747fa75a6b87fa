"""The figure of a search: the trade-off, and the main effects with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medsweep.hardware.profile import GIB
from medsweep.report.figures.style import MUTED, PALETTE, WARNING, new_figure, style
from medsweep.search.effects import MainEffect
from medsweep.search.tradeoff import Row, Tradeoff

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "tokens_per_s": "training tokens per second",
    "peak_gpu_memory_bytes": "peak GPU memory (GiB)",
}


def search_figure(
    title: str,
    finished: Sequence[Row],
    trade: Tradeoff | None,
    effects: Sequence[MainEffect],
    metric: str,
) -> Figure:
    """Draw quality against cost, and each parameter's main effect.

    Args:
        title: names the model.
        finished: the last row of each finished trial.
        trade: the trade-off among them.
        effects: of the parameters that vary.
        metric: the quality figure.
    """
    with style():
        # Trials always measure the machine that they run on.
        figure, panels = new_figure(
            title, ["observed"], 1, 1 + max(1, len(effects)), 2.75, left_in=0.6, gap_in=0.6
        )
        if trade is not None:
            _trade(panels[0], finished, trade)
        for panel, effect in zip(panels[1:], effects, strict=False):
            _effect(panel, effect, metric)
    return figure


def _trade(axes: Axes, finished: Sequence[Row], trade: Tradeoff) -> None:
    unit = GIB if trade.cost == "peak_gpu_memory_bytes" else 1

    def draw(rows: Sequence[Row], **look: object) -> None:
        x = [row[trade.cost] / unit for row in rows]
        axes.plot(x, [row[trade.metric] for row in rows], **look)  # type: ignore[arg-type]

    draw(finished, color=MUTED, marker="o", markersize=3.5, linestyle="")
    draw(
        trade.front, color=PALETTE[0], marker="o", markersize=5, linewidth=1.2, label="Pareto front"
    )
    draw(
        [trade.best], color=WARNING, marker="*", markersize=12, linestyle="", label="best trade-off"
    )
    axes.set_xlabel(LABELS[trade.cost])
    axes.set_title(trade.metric.replace("_", " "))
    axes.legend(loc="best", fontsize=8)


def _effect(axes: Axes, effect: MainEffect, metric: str) -> None:
    places = range(len(effect.levels))
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.plot(places, [level.effect for level in effect.levels], color=PALETTE[0], marker="o")
    bounded = [(at, level) for at, level in zip(places, effect.levels, strict=True)]
    for at, level in bounded:
        if level.low is not None and level.high is not None:
            axes.plot([at, at], [level.low, level.high], color=PALETTE[0], linewidth=1.4)
    axes.set_xticks(list(places), [f"{level.value:g}" for level in effect.levels])
    verdict = {True: "matters", False: "no effect shown", None: "too few trials"}[effect.matters]
    axes.set_title(f"{effect.parameter}: {verdict}")
    axes.set_xlabel(f"effect on {metric.replace('_', ' ')}, 95 % interval")
