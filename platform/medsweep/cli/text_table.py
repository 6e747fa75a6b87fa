"""Tables as text that fits the terminal."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence

_GAP = 2
_NARROWEST = 9


def width() -> int | None:
    """Return the columns that a table may take; None if it goes to a file or a pipe.

    There each row stays on one line, for `grep` and `awk`; COLUMNS sets a width everywhere.
    """
    if (given := os.environ.get("COLUMNS", "")).isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return None


def layout(table: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Return the lines of a table whose first row has the headings.

    Args:
        table: the rows of texts, all of one length.
        columns: that it may take; None for any number. A table that is a little too wide has its
            widest cells wrapped; one that is far too wide becomes a block of lines for each row.
    """
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    gaps = _GAP * (len(widths) - 1)
    if columns is not None:
        while sum(widths) + gaps > columns:
            widest = max(range(len(widths)), key=widths.__getitem__)
            if widths[widest] <= _NARROWEST:
                return _blocks(table, columns)
            widths[widest] -= 1
        if sum(widths) > 0 and any(
            _tallest(row, widths) > 4 for row in table
        ):  # more wrapped than read
            return _blocks(table, columns)
    lines = []
    for row in table:
        cells = [_wrapped(text, size) for text, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [
                (cell[number] if number < len(cell) else "").ljust(size)
                for cell, size in zip(cells, widths, strict=True)
            ]
            lines.append((" " * _GAP).join(parts).rstrip())
    return lines


def _tallest(row: Sequence[str], widths: Sequence[int]) -> int:
    return max(len(_wrapped(text, size)) for text, size in zip(row, widths, strict=True))


def _wrapped(text: str, size: int) -> list[str]:
    return textwrap.wrap(text, size) if len(text) > size else [text]


def _blocks(table: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Return a block for each row: its first cell, and below it what the others are."""
    headings, *rows = table
    label = max(map(len, headings[1:]), default=0)
    lines = []
    for row in rows:
        lines.append(f"{headings[0]} {row[0]}")
        for heading, text in zip(headings[1:], row[1:], strict=True):
            lines += textwrap.wrap(
                text,
                columns,
                initial_indent=f"  {heading.ljust(label)}  ",
                subsequent_indent=" " * (label + 4),
            )
    return lines
