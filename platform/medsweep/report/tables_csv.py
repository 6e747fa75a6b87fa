"""Every table of the page as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from medsweep.report.view import View
from medsweep.results.store import write_text


def write_csv(folder: Path, views: Mapping[str, View]) -> None:
    """Write the tables that have rows.

    Args:
        folder: where to.
        views: table by name of the file, without its ending.
    """
    for name, view in views.items():
        if view.rows:
            write_text(folder / f"{name}.csv", as_csv(view))


def as_csv(view: View) -> str:
    """Return a table as CSV; the small print of a column is a column of its own behind it."""
    noted = [any(row[place].note for row in view.rows) for place in range(len(view.headings))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for heading, has_notes in zip(view.headings, noted, strict=True):
        header += [heading.text, f"{heading.text}: note"] if has_notes else [heading.text]
    writer.writerow(header)
    for row in view.rows:
        line: list[str] = []
        for cell, has_notes in zip(row, noted, strict=True):
            line += [cell.text, cell.note.replace("\n", "; ")] if has_notes else [cell.text]
        writer.writerow(line)
    return out.getvalue()
