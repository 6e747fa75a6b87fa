"""Lists of names in messages."""

from __future__ import annotations

from collections.abc import Sequence


def first_names(names: Sequence[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are.

    Args:
        names: such as those of cells.
        most: how many are written.
    """
    more = len(names) - most
    written = ", ".join(names[:most])
    return f"{written} and {more} more" if more > 0 else written
