"""The rows of a `benchmark.parquet`, of this version or an earlier one."""

from __future__ import annotations

from pathlib import Path

from medsweep.errors import InputError, cause_of
from medsweep.reporter import harmless
from medsweep.results.aggregate import Row
from medsweep.results.files import BENCHMARK_FILE
from medsweep.results.schema import BENCHMARK, renamed
from medsweep.results.store import read_rows

_REQUIRED = ("model", "profile", "variant", "load_point", "status")


def read_benchmark(file: Path, name: str) -> list[Row]:
    """Return the rows of a `benchmark.parquet` with every column of the schema.

    Args:
        file: its path on this machine.
        name: what messages call it.

    Raises:
        InputError: it is not a `benchmark.parquet`.
    """
    import pyarrow.parquet as pq

    try:
        columns = set(renamed(dict.fromkeys(pq.read_schema(file).names)))
        rows = [renamed(row) for row in read_rows(file)]
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read as Parquet: {cause_of(error)}") from None
    if missing := set(_REQUIRED) - columns:
        raise InputError(f"{name}: not a {BENCHMARK_FILE}: no column {', '.join(sorted(missing))}")
    # Columns that were added after the file was written are null.
    added = {column.name: None for column in BENCHMARK if column.name not in columns}
    return _told_apart(
        [added | {name: _harmless(name, value) for name, value in row.items()} for row in rows]
    )


def _told_apart(rows: list[Row]) -> list[Row]:
    """Return rows in which a merged model has a name of its own where its live adapter has rows.

    A model with its adapter merged into it is another model to a server, and so to every table.
    """
    live = {(row["model"], row["profile"]) for row in rows if row["adapters"] == "live"}
    return [
        {**row, "model": f"{row['model']} (merged)"}
        if row["adapters"] == "merged" and (row["model"], row["profile"]) in live
        else row
        for row in rows
    ]


def _harmless(name: str, value: object) -> object:
    """Return a value of someone else's file without control characters, for logs and terminals."""
    keep = "\n" if name == "reason" else ""
    return harmless(value, keep) if isinstance(value, str) else value
