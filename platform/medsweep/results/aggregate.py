"""Rows of a result file in groups, and means that leave out what is missing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

Row = Mapping[str, Any]
K = TypeVar("K", bound=Hashable)

BASES = ("observed", "emulated", "predicted")
VARIANTS = ("adapter", "base")


def group_by(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Return the rows by key; groups and rows keep their order.

    Args:
        rows: what to group.
        key: of a row.
    """
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def group_by_columns(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by their values in some columns, in order."""
    return group_by(rows, lambda row: tuple(row[column] for column in columns))


def ok_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that were measured."""
    return [row for row in rows if row["status"] == "ok"]


def first(rows: Iterable[Row], column: str) -> Any:
    """Return the first value of a column that is not missing, or None."""
    return next((row[column] for row in rows if row.get(column) is not None), None)


def values(rows: Iterable[Row], column: str) -> list[Any]:
    """Return the values of a column without the missing ones."""
    return [row[column] for row in rows if row.get(column) is not None]


def by_deployment(rows: Iterable[Row], column: str) -> list[list[float]]:
    """Return a column's values of the repeats of each deployment.

    Repeats of one deployment share its memory layout, compiled kernels and place on the machine, so
    they are not independent of each other.
    """
    groups = group_by([row for row in rows if row.get(column) is not None], _deployment)
    return [values(group, column) for group in groups.values()]


def independent_values(rows: Iterable[Row], column: str) -> list[float]:
    """Return a column's independent values: of deployments if there were several, else of repeats.

    Args:
        rows: the repeats of one load point.
        column: whose values; a deployment has the mean of its repeats.
    """
    deployments = by_deployment(rows, column)
    if len(deployments) > 1:
        return [average(each) for each in deployments]
    return deployments[0] if deployments else []


def _deployment(row: Row) -> int | None:
    return row.get("deployment")


def distinct(rows: Iterable[Row], column: str) -> tuple[Any, ...]:
    """Return each value of a column once, without the missing ones."""
    return tuple(dict.fromkeys(values(rows, column)))


def average(numbers: Sequence[float]) -> float:
    """Return the mean of at least one number."""
    return sum(numbers) / len(numbers)


def mean(rows: Iterable[Row], column: str) -> float | None:
    """Return the mean of a column; None if no row has a value."""
    present = values(rows, column)
    return average(present) if present else None


def basis_order(basis: str | None) -> int:
    """Return a sorting key: observed first, rows without a basis last."""
    return BASES.index(basis) if basis in BASES else len(BASES)


def variant_order(variant: str | None) -> int:
    """Return a sorting key: the adapter first, rows without a variant (`medsweep bench`) last."""
    return VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS)


def headline_rows(rows: Iterable[Row]) -> list[Row]:
    """Return each cell's measured rows of the adapter, or of the base model if it has no others.

    Args:
        rows: of any number of cells.
    """
    chosen: list[Row] = []
    for cell in group_by_columns(ok_rows(rows), "model", "profile").values():
        variants = group_by(cell, lambda row: row["variant"])
        chosen += variants[min(variants, key=variant_order)]
    return chosen


def load_points(rows: Iterable[Row]) -> list[str]:
    """Return the load points: closed loops by concurrency, then open loops by rate."""
    points = {
        str(row["load_point"]): (
            row.get("concurrency") is None,
            row.get("concurrency") or 0,
            row.get("rate_rps") or 0.0,
            row["load_point"],
        )
        for row in rows
        if row["load_point"] is not None
    }
    return sorted(points, key=points.__getitem__)
