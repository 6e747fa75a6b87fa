"""What the Python interface returns: rows that print, and that become a data frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return self.to_pandas().to_string(index=False)

    def _repr_html_(self) -> str:
        html: str = self.to_pandas().to_html(index=False, na_rep="")
        return html
