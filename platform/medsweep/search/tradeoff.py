"""The best trade-off among finished trials: quality against speed, or against memory on a GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.metrics.pareto import pareto_front

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Tradeoff:
    """The trade-off among finished trials.

    Attributes:
        metric: the quality figure.
        cost: what it is traded against: `tokens_per_s` or `peak_gpu_memory_bytes`.
        front: the trials that no other trial beats in both, best quality first.
        best: the one of these nearest to the best of both figures, each scaled to its range.
        lead: by how much its quality is better than the mean of all trials, in the figure's unit.
            It was chosen on the questions that it is measured on, so up to the whole lead may be
            luck: if no recipe mattered, this is what choosing the best would add on average.
    """

    metric: str
    cost: str
    front: tuple[Row, ...]
    best: Row
    lead: float


def trade_off(rows: Sequence[Row], metric: str) -> Tradeoff | None:
    """Return the trade-off, or None if no trial has both figures.

    Args:
        rows: the last row of each finished trial.
        metric: the quality figure; more is better, except for `eval_loss`.
    """
    on_gpu = any(row.get("peak_gpu_memory_bytes") is not None for row in rows)
    cost = "peak_gpu_memory_bytes" if on_gpu else "tokens_per_s"
    usable = [row for row in rows if row.get(metric) is not None and row.get(cost) is not None]
    if not usable:
        return None
    less_is_better = (metric == "eval_loss", cost == "peak_gpu_memory_bytes")

    def gains(row: Row) -> tuple[float, float]:
        return (
            -row[metric] if less_is_better[0] else row[metric],
            -row[cost] if less_is_better[1] else row[cost],
        )

    front = sorted(pareto_front(usable, gains), key=gains, reverse=True)
    sides = list(zip(*map(gains, usable), strict=True))
    lows, tops = [min(side) for side in sides], [max(side) for side in sides]

    def distance(row: Row) -> float:
        return math.hypot(
            *(
                (top - gain) / (top - low) if top > low else 0.0
                for gain, low, top in zip(gains(row), lows, tops, strict=True)
            )
        )

    best = min(front, key=distance)
    lead = gains(best)[0] - sum(gains(row)[0] for row in usable) / len(usable)
    return Tradeoff(metric, cost, tuple(front), best, max(0.0, lead))
