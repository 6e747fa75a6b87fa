"""What did not run, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsweep.report.table import (
    TableCell,
    TableRow,
    build,
    column,
    hidden,
    load,
    prose,
    texts,
)
from medsweep.report.tables.grouping import model_order, profile_order
from medsweep.results.aggregate import Row, group_by_columns, values


def _failed_by_kind(rows: Sequence[Row]) -> Mapping[str, int]:
    kinds = Counter[str]()
    for each in values(rows, "failed_by_kind"):
        kinds.update(each)
    return kinds


def _kinds(failed: Mapping[str, int]) -> TableCell:
    counts = [f"{kind}: {number}" for kind, number in sorted(failed.items())]
    return texts(counts, "none was sent, or none failed on its own")


@dataclass(frozen=True)
class FailureRow(TableRow):
    """A cell or load point that failed or was refused."""

    caption = "Cells and load points without a result"
    labels = 2

    model: str = column("Model")
    profile: str = column("Profile")
    status: str = column(
        "Status", cell=lambda row: TableCell(row.status, kind=f"state {row.status}")
    )
    load_point: str | None = column("Load", show=load, missing="the whole cell")
    reason: str | None = column("Reason", show=prose)
    failed_by_kind: Mapping[str, int] = column("Failed requests", _failed_by_kind, _kinds)
    rows: int = hidden(len)


def failure_table(rows: Sequence[Row]) -> list[FailureRow]:
    """Return what failed or was refused, one row per cell, load point and reason.

    Args:
        rows: of `benchmark.parquet`.

    Returns:
        Failed before refused, then by model and profile.
    """
    groups = group_by_columns(
        [row for row in rows if row["status"] != "ok"],
        *("model", "profile", "status", "load_point", "reason"),
    )
    return sorted(
        (build(FailureRow, group) for group in groups.values()),
        key=lambda row: (row.status, model_order(row.model), profile_order(row.profile)),
    )
