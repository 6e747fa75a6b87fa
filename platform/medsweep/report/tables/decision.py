"""What there is to choose between: quality, latency, throughput and cost of each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.decide.candidates import Candidate, best_trade_offs, candidates
from medsweep.metrics.statistics import Interval
from medsweep.report.tables.grouping import (
    busiest_point,
    headline_rows,
    load_points,
    mean_interval,
    most_asked,
)
from medsweep.report.tables.quality import QualityFigure
from medsweep.results.aggregate import Row, basis_order, first, group_by, mean


@dataclass(frozen=True)
class DecisionRow:
    """One configuration.

    Attributes:
        model, profile, basis: which.
        token_f1: mean with its interval, where most questions were asked; None without grades.
        e2e: mean end-to-end time at the lightest load point, in seconds.
        requests_per_s: most over its load points.
        busiest: load point of that.
        usd_per_1k: of 1,000 answers there; None without a price for observed hardware.
        on_front: whether no other configuration of its basis is better, faster and, where all have
            a price, cheaper.
    """

    model: str
    profile: str
    basis: str
    token_f1: QualityFigure | None
    e2e: Interval | None
    requests_per_s: float | None
    busiest: str | None
    usd_per_1k: float | None
    on_front: bool


def decision_table(rows: Sequence[Row]) -> list[DecisionRow]:
    """Return one row a configuration: observed first, then by quality and by latency.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    lightest = next(iter(load_points(measured)), None)
    found = [each for each in candidates(measured) if each.load_point == lightest]
    front: list[Candidate] = []
    for of_basis in group_by_basis(found):
        front += best_trade_offs(of_basis)
    best = {(each.model, each.profile, each.basis) for each in front}
    table = [
        _row(group, on_front=key in best)
        for key, group in group_by(
            measured, lambda row: (row["model"], row["profile"], row["basis"])
        ).items()
    ]
    return sorted(table, key=_order)


def group_by_basis(found: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the candidates of each basis: what is emulated is held against its like."""
    bases = dict.fromkeys(each.basis for each in found)
    return [[each for each in found if each.basis == basis] for basis in bases]


def _row(rows: Sequence[Row], *, on_front: bool) -> DecisionRow:
    light = [row for row in rows if row["load_point"] == load_points(rows)[0]]
    point, rate = busiest_point(rows) or (None, None)
    price = mean([row for row in rows if row["load_point"] == point], "usd_per_answer")
    asked = most_asked(rows)
    f1, low, high = (mean(asked, f"token_f1{end}") for end in ("", "_low", "_high"))
    quality = None if f1 is None else QualityFigure(f1, low, high, None)
    return DecisionRow(
        model=first(rows, "model"),
        profile=first(rows, "profile"),
        basis=first(rows, "basis"),
        token_f1=quality,
        e2e=mean_interval(light, "e2e"),
        requests_per_s=rate,
        busiest=point,
        usd_per_1k=None if price is None else 1000 * price,
        on_front=on_front,
    )


def _order(row: DecisionRow) -> tuple[int, float, float]:
    quality = row.token_f1.mean if row.token_f1 else 0.0
    return basis_order(row.basis), -quality, row.e2e.mean if row.e2e else float("inf")
