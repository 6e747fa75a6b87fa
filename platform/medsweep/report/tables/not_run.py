"""What did not run, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.tables.grouping import model_order, profile_order
from medsweep.results.aggregate import Row, group_by


@dataclass(frozen=True)
class Failure:
    """One thing that failed or was refused.

    Attributes:
        model: name.
        profile: hardware profile.
        status: failed or refused.
        load_point: load shape; None where it was the whole cell.
        reason: why.
        failed_by_kind: failed requests by kind; empty where none was sent.
        rows: rows that say this.
    """

    model: str
    profile: str
    status: str
    load_point: str | None
    reason: str | None
    failed_by_kind: dict[str, int]
    rows: int


def failures(rows: Sequence[Row]) -> list[Failure]:
    """Return what failed or was refused, one row per cell, load point and reason.

    Args:
        rows: of `benchmark.parquet`.

    Returns:
        Failed before refused, then by model and profile.
    """
    groups = group_by(
        [row for row in rows if row["status"] != "ok"],
        lambda row: tuple(row[n] for n in ("model", "profile", "status", "load_point", "reason")),
    )
    table = [Failure(*_head(group), _kinds(group), len(group)) for group in groups.values()]
    return sorted(
        table,
        key=lambda found: (found.status, model_order(found.model), profile_order(found.profile)),
    )


def _head(group: Sequence[Row]) -> tuple[str, str, str, str | None, str | None]:
    row = group[0]
    return row["model"], row["profile"], row["status"], row["load_point"], row["reason"]


def _kinds(group: Sequence[Row]) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for row in group:
        for kind, count in (row["failed_by_kind"] or {}).items():
            kinds[kind] = kinds.get(kind, 0) + count
    return kinds
