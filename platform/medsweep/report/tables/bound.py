"""What bound each configuration at each load point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.table import (
    TableCell,
    TableRow,
    build,
    column,
    folded,
    hidden,
    load,
)
from medsweep.report.tables.grouping import configuration_order
from medsweep.results.aggregate import Row, first, group_by_columns, headline_rows


@dataclass(frozen=True)
class BoundRow(TableRow):
    """One load point of one configuration, all repeats together."""

    caption = "What limits each measurement, and the evidence for it"
    labels = 3

    model: str = column("Model")
    profile: str = column("Profile")
    load_point: str = column("Load", show=load)
    basis: str = column("Basis")
    bound: str = column("Bound by")
    agreeing: int = column(
        "Repeats", cell=lambda row: TableCell(f"{row.agreeing} of {row.repeats}", kind="number")
    )
    repeats: int = hidden(len)
    evidence: str = column("Evidence", show=folded, missing="")


def bound_table(rows: Sequence[Row]) -> list[BoundRow]:
    """Return one row per load point with sensor readings.

    Args:
        rows: of `benchmark.parquet`.
    """
    known = [row for row in headline_rows(rows) if row.get("bound")]
    groups = group_by_columns(known, "model", "profile", "basis", "load_point")
    table = [_row(group) for group in groups.values()]
    return sorted(table, key=lambda row: (*configuration_order(row), row.load_point))


def _row(group: Sequence[Row]) -> BoundRow:
    """Return what bound most repeats, with the evidence of the first of them."""
    [(bound, agreeing)] = Counter(str(row["bound"]) for row in group).most_common(1)
    evidence = first([row for row in group if row["bound"] == bound], "bound_evidence")
    return build(BoundRow, group, bound=bound, agreeing=agreeing, evidence=evidence)
