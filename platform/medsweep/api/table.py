"""What the Python interface returns: rows that print, and that become a data frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from medsweep.errors import require

if TYPE_CHECKING:
    import pandas as pd


class Table:
    """Rows with the same columns.

    Args:
        rows: column by name, in order.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame; what is missing is None or NaN."""
        require("pandas")
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        if not self.rows:
            return "no rows"
        lines = [list(self.rows[0]), *map(_texts, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in (self.rows[0] if self.rows else ()))
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _texts(row))}</tr>\n"
            for row in self.rows
        )
        return f"<table>\n<tr>{head}</tr>\n{body}</table>"


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [
        "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        for value in row.values()
    ]
