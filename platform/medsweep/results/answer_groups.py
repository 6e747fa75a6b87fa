"""Figures of groups of graded answers, computed from `responses.parquet` column by column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

ANSWER_SHARES = ("verified", "truncated", "refused")
"""What an answer is or is not: verified by rules, cut off at the token limit, a refusal."""


def aggregate(
    path: Path,
    keys: list[str],
    columns: list[str],
    how: str,
    derive: Callable[[pa.Table], pa.Table] = lambda table: table,
) -> list[dict[str, Any]]:
    """Return the groups of a Parquet file in order, without a Python object per row.

    Args:
        path: of the file.
        keys: columns to group by.
        columns: what is read.
        how: pyarrow's name of what is computed for each group.
        derive: returns the table with further columns, or others, before they are grouped.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Columns that were added after the file was written are null.
    present = set(pq.read_schema(path).names)
    table = pq.read_table(path, columns=[each for each in (*keys, *columns) if each in present])
    for name in columns:
        if name not in present:
            table = table.append_column(name, pa.nulls(len(table), pa.float64()))
    table = derive(table)
    figures = [(each, how) for each in table.column_names if each not in keys]
    groups = table.group_by(keys, use_threads=False).aggregate(figures)
    names = [each.removesuffix(f"_{how}") for each in groups.column_names]
    rows: list[dict[str, Any]] = groups.rename_columns(names).to_pylist()
    return rows


def with_shares(table: pa.Table) -> pa.Table:
    """Return a table of answers with `ANSWER_SHARES` as numbers, in place of what they are from.

    Args:
        table: with the columns `finish_reason`, `refusal` and those that the rules use.
    """
    import pyarrow as pa

    from medsweep.metrics.faulty_answers import TRUNCATED
    from medsweep.metrics.verified import RULES, verified

    reasons, refusals, *given = (
        table[name].to_pylist() for name in ("finish_reason", "refusal", *RULES)
    )
    shares = {
        "verified": verified(*given),
        "truncated": [None if each is None else float(each == TRUNCATED) for each in reasons],
        "refused": [None if each is None else float(each) for each in refusals],
    }
    table = table.drop_columns(["finish_reason", "refusal"])
    for name in ANSWER_SHARES:
        column = pa.array(shares[name], pa.float64(), from_pandas=True)
        table = table.append_column(name, column)
    return table
