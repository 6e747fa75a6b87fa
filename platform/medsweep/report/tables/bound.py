"""What bound each configuration at each load point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.tables.grouping import headline_rows, model_order, profile_order
from medsweep.results.aggregate import Row, basis_order, first, group_by


@dataclass(frozen=True)
class BoundRow:
    """One load point of one configuration, its repeats together.

    Attributes:
        model, profile, basis, load_point: which.
        bound: what bound most repeats.
        agreeing: repeats that say so.
        repeats: repeats that say anything.
        evidence: figures of the first repeat that says so.
    """

    model: str
    profile: str
    basis: str
    load_point: str
    bound: str
    agreeing: int
    repeats: int
    evidence: str


def bound_table(rows: Sequence[Row]) -> list[BoundRow]:
    """Return one row a load point of which something is known.

    Args:
        rows: of `benchmark.parquet`.
    """
    known = [row for row in headline_rows(rows) if row.get("bound")]
    groups = group_by(
        known,
        lambda row: tuple(row[name] for name in ("model", "profile", "basis", "load_point")),
    )
    table = [_row(group) for group in groups.values()]
    return sorted(
        table,
        key=lambda row: (
            basis_order(row.basis),
            model_order(row.model),
            profile_order(row.profile),
            row.load_point,
        ),
    )


def _row(group: Sequence[Row]) -> BoundRow:
    [(bound, agreeing)] = Counter(str(row["bound"]) for row in group).most_common(1)
    saying = [row for row in group if row["bound"] == bound]
    return BoundRow(
        model=first(group, "model"),
        profile=first(group, "profile"),
        basis=first(group, "basis"),
        load_point=first(group, "load_point"),
        bound=bound,
        agreeing=agreeing,
        repeats=len(group),
        evidence=first(saying, "bound_evidence") or "",
    )
