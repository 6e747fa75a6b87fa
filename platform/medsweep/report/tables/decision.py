"""What there is to choose between: quality, latency, throughput and cost of each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.decide.candidates import best_trade_offs
from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.table import TableCell, TableRow, build, column, hidden, number, time
from medsweep.report.tables.cost import NO_PRICE
from medsweep.report.tables.grouping import (
    busiest_point,
    interval_over_questions,
    mean_interval,
    most_questions,
)
from medsweep.report.tables.quality import QualityFigure, quality, quality_bounds
from medsweep.results.aggregate import (
    Row,
    basis_order,
    group_by_columns,
    headline_rows,
    load_points,
    mean,
)


def _token_f1(rows: Sequence[Row]) -> QualityFigure | None:
    """Return the mean with its interval at the load point with most questions."""
    graded = most_questions(rows)
    f1 = interval_over_questions(graded, "token_f1")
    if f1 is None:
        return None
    bounds = quality_bounds(graded, "token_f1")
    return QualityFigure(f1.mean, f1.low, f1.high, None, not_leaked=None, **bounds)


def _usd_per_1k(rows: Sequence[Row]) -> float | None:
    point, _ = busiest_point(rows)
    price = mean([row for row in rows if row["load_point"] == point], "usd_per_answer")
    return None if price is None else 1000 * price


def _e2e(rows: Sequence[Row]) -> Interval | None:
    lightest = load_points(rows)[0]
    return mean_interval([row for row in rows if row["load_point"] == lightest], "e2e")


@dataclass(frozen=True)
class DecisionRow(TableRow):
    """One configuration."""

    caption = (
        "Every configuration: quality, end-to-end time at the lightest load point, throughput and "
        "price at the busiest. A trade-off is best if at the lightest load no configuration of the "
        "same basis is better, faster and, if all have a price, cheaper"
    )
    labels = 2

    model: str = column("Model")
    profile: str = column("Profile")
    basis: str = column("Basis")
    on_front: bool = column("Best trade-off", cell=lambda row: TableCell("yes" * row.on_front))
    token_f1: QualityFigure | None = column("Token F1", _token_f1, quality)
    e2e: Interval | None = column("E2E mean (s)", _e2e, time)
    requests_per_s: float | None = column(
        "Requests (1/s)",
        lambda rows: busiest_point(rows)[1],
        cell=lambda row: TableCell(
            number(row.requests_per_s).text,
            note=f"at {load_in_words(row.busiest)}" if row.busiest else "",
            kind="number",
        ),
    )
    busiest: str | None = hidden(lambda rows: busiest_point(rows)[0])
    usd_per_1k: float | None = column(
        "USD per 1,000 answers", _usd_per_1k, number, missing=NO_PRICE
    )


def decision_table(rows: Sequence[Row]) -> list[DecisionRow]:
    """Return one row per configuration: observed first, then by quality and by latency.

    Args:
        rows: of `benchmark.parquet`.
    """
    measured = headline_rows(rows)
    found = best_trade_offs(rows)
    best = {
        (each.model, each.profile, basis)
        for basis, choices in (found.best if found else {}).items()
        for each in choices
    }
    groups = group_by_columns(measured, "model", "profile", "basis")
    table = [build(DecisionRow, group, on_front=key in best) for key, group in groups.items()]
    return sorted(table, key=_order)


def _order(row: DecisionRow) -> tuple[int, float, float]:
    token_f1 = row.token_f1.mean if row.token_f1 else 0.0
    return basis_order(row.basis), -token_f1, row.e2e.mean if row.e2e else float("inf")
