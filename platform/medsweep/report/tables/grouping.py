"""What every table needs of the rows: order, groups and means that leave out what is missing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from medsweep.hardware.catalog import PROFILES
from medsweep.metrics.statistics import Interval
from medsweep.models.catalog import MODELS

Row = Mapping[str, Any]
K = TypeVar("K", bound=Hashable)

BASES = ("observed", "emulated", "predicted")
VARIANTS = ("adapter", "base")


def group_by(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    """Return the rows by key, both in the order in which they come.

    Args:
        rows: what to group.
        key: what a row belongs to.
    """
    groups: dict[K, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def ok_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that were measured."""
    return [row for row in rows if row["status"] == "ok"]


def headline_rows(rows: Iterable[Row]) -> list[Row]:
    """Return each cell's measured rows of the adapter, or of the base model where that is all.

    Args:
        rows: of any number of cells.
    """
    chosen: list[Row] = []
    for cell in group_by(ok_rows(rows), lambda row: (row["model"], row["profile"])).values():
        by_variant = group_by(cell, lambda row: str(row["variant"]))
        chosen += next((by_variant[name] for name in VARIANTS if name in by_variant), [])
    return chosen


def most_asked(rows: Sequence[Row]) -> list[Row]:
    """Return the repeats at the load point that asked most questions: of few, quality says little.

    Args:
        rows: of one cell and variant; all come back where none is graded.
    """
    most = max(rows, key=lambda row: row.get("questions") or 0, default=None)
    return [row for row in rows if most and row["load_point"] == most["load_point"]]


def is_emulated(rows: Iterable[Row]) -> bool:
    """Return whether any row was measured on something else than the named hardware."""
    return any(row["basis"] == "emulated" for row in rows)


def mean(rows: Sequence[Row], column: str) -> float | None:
    """Return the mean of a column, or None where no row has it."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return sum(values) / len(values) if values else None


def mean_interval(rows: Sequence[Row], latency: str) -> Interval | None:
    """Return a latency's mean over repeats with the interval that each of its rows carries.

    Args:
        rows: the repeats of one load point.
        latency: such as "ttft".
    """
    middle = mean(rows, f"{latency}_mean_s")
    if middle is None:
        return None
    low, high = (first(rows, f"{latency}_mean_{bound}_s") for bound in ("low", "high"))
    return Interval(middle, low, high)


def first(rows: Iterable[Row], column: str) -> Any:
    """Return the first value of a column that is not missing, or None."""
    return next((row[column] for row in rows if row.get(column) is not None), None)


def distinct(rows: Iterable[Row], column: str) -> tuple[Any, ...]:
    """Return the values of a column, each once, without the missing ones."""
    return tuple(dict.fromkeys(row[column] for row in rows if row.get(column) is not None))


def model_order(model: str) -> tuple[int, str]:
    """Return a sorting key: the order of the catalogue, then the name."""
    names = list(MODELS)
    return (names.index(model) if model in MODELS else len(names), model)


def profile_order(profile: str) -> tuple[int, str]:
    """Return a sorting key: the order of the catalogue, then the name."""
    names = list(PROFILES)
    return (names.index(profile) if profile in PROFILES else len(names), profile)


def load_points(rows: Iterable[Row]) -> list[str]:
    """Return the load points: closed loops by concurrency, then open loops by rate."""
    found = {
        str(row["load_point"]): (
            row.get("concurrency") is None,
            row.get("concurrency") or 0,
            row.get("rate_rps") or 0.0,
            row["load_point"],
        )
        for row in rows
        if row["load_point"] is not None
    }
    return sorted(found, key=found.__getitem__)


def busiest_point(rows: Sequence[Row]) -> tuple[str, float] | None:
    """Return the load point with most answers a second, and how many; None where none has any."""
    rates = {
        point: rate
        for point in load_points(rows)
        if (rate := mean([row for row in rows if row["load_point"] == point], "requests_per_s"))
    }
    return max(rates.items(), key=lambda entry: entry[1], default=None)


def basis_order(basis: str | None) -> int:
    """Return a sorting key: observed first, what has no basis last."""
    return BASES.index(basis) if basis in BASES else len(BASES)
