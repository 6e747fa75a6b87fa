"""A table of the report: its columns are the fields of a dataclass, each declared once.

A field has a title, a value computed from rows of `benchmark.parquet`, and a form in which it is
shown. The page and the CSV files are made from the same cells.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from typing import Any, ClassVar, TypeVar

from medsweep.digits import probability, significant
from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import (
    MISSING,
    Estimate,
    duration,
    figure,
    scaled,
    share,
    share_places,
    share_spread,
    signed,
    spread,
    time_unit,
)
from medsweep.results.aggregate import Row, first, mean
from medsweep.results.schema import BENCHMARK

NOT_MEASURED = "not measured, or too few samples"

_NUMBER = re.compile(r"[+-]?[0-9.,]+")

MEANINGS = {column.name: column.meaning for column in BENCHMARK}


@dataclass(frozen=True)
class TableCell:
    """One cell of a table.

    Attributes:
        text: its value.
        note: smaller lines below; empty for none.
        title: explanation of a missing value; empty for none.
        kind: CSS class: "number", "text", "prose" or a state.
        seconds: the time that it shows, in seconds; None if it shows something else.
    """

    text: str
    note: str = ""
    title: str = ""
    kind: str = "text"
    seconds: Interval | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading.
        cell: returns the cell of a table row.
        meaning: tooltip of the heading; empty for none.
    """

    title: str
    cell: Callable[[Any], TableCell]
    meaning: str = ""


@dataclass(frozen=True)
class ReportTable:
    """One table as the page shows it.

    Attributes:
        caption: what it shows.
        columns: from left to right.
        rows: cells; the first `labels` of each row are row headings.
        labels: number of row headings.
        empty: heading of each column that was left out because no row has a value, and why.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    labels: int = 1
    empty: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TableRow:
    """Base of the rows of a table; fields that `column` declares are its columns."""

    caption: ClassVar[str]
    labels: ClassVar[int] = 1


R = TypeVar("R", bound=TableRow)
Value = Callable[[Sequence[Row]], Any]


def text(value: object, missing: str = "not recorded") -> TableCell:
    """Return a cell of text; a dash with an explanation if the value is missing."""
    return TableCell(MISSING, title=missing) if value in (None, "", ()) else TableCell(str(value))


def prose(value: str | None, missing: str = "not recorded") -> TableCell:
    """Return a wide cell with a sentence."""
    return TableCell(value or missing, kind="prose")


def folded(value: str | None, missing: str = "") -> TableCell:
    """Return a cell with a sentence that the page shows when it is asked for."""
    return TableCell(value or missing, kind="folded" if value else "text")


def texts(values: Iterable[object], missing: str = "not recorded") -> TableCell:
    """Return a cell with all values, separated by commas."""
    return text(", ".join(str(value) for value in values), missing)


def number(value: float | None, missing: str = NOT_MEASURED) -> TableCell:
    """Return a cell with three significant digits."""
    if value is None:
        return TableCell(MISSING, title=missing, kind="number")
    return TableCell(significant(value), kind="number")


def count(value: int | None, missing: str = "not recorded") -> TableCell:
    """Return a cell with an integer."""
    if value is None:
        return TableCell(MISSING, title=missing, kind="number")
    return TableCell(f"{value:,}", kind="number")


def fraction(
    value: float | None, missing: str = "not graded", beside: Estimate | None = None
) -> TableCell:
    """Return a cell with a figure between 0 and 1.

    Args:
        value: the figure.
        missing: explains a missing one.
        beside: the estimate with whose decimals it is shown; None for three.
    """
    shown = share(value) if beside is None else share(value, share_places(beside))
    return TableCell(shown, title=missing if value is None else "", kind="number")


def interval(value: Interval | None, missing: str = NOT_MEASURED) -> TableCell:
    """Return a cell with a mean and its interval below."""
    if value is None:
        return number(None, missing)
    return TableCell(figure(value), note=spread(value), kind="number")


def time(value: Interval | float | None, missing: str = NOT_MEASURED) -> TableCell:
    """Return a cell with a time and, where it has one, its interval below.

    `tabulate` shows a column in milliseconds if at least half of its times are under a second.

    Args:
        value: in seconds.
        missing: explains a missing one.
    """
    if value is None:
        return number(None, missing)
    return _time_in(1, value if isinstance(value, Interval) else Interval(value, None, None))


def _time_in(factor: int, taken: Interval) -> TableCell:
    shown = scaled(taken, factor)
    return TableCell(duration(shown), note=spread(shown), kind="number", seconds=taken)


def p_value(value: float | None, missing: str) -> TableCell:
    """Return a cell with a p value."""
    if value is None:
        return number(None, missing)
    return TableCell(probability(value), kind="number")


def load(name: str | None, missing: str = "") -> TableCell:
    """Return a cell with a load point in words: "4 clients", not its name `c4`."""
    return TableCell(MISSING, title=missing) if name is None else TableCell(load_in_words(name))


def difference(value: Estimate) -> TableCell:
    """Return a cell with a difference and its sign."""
    return TableCell(signed(value.mean, share_places(value)), kind="number")


def part_of(part: int | None, total: int | None) -> TableCell:
    """Return a cell with a count and the count that it is part of."""
    return TableCell(f"{part or 0:,} / {total or 0:,}", kind="number")


def limits(value: Estimate, missing: str) -> TableCell:
    """Return a cell with the ends of an interval of differences."""
    ends = share_spread(value)
    return TableCell(ends or MISSING, title="" if ends else missing, kind="number")


def column(
    title: str,
    value: str | Value | None = None,
    show: Callable[..., TableCell] = text,
    *,
    missing: str | None = None,
    meaning: str = "",
    cell: Callable[[Any], TableCell] | None = None,
) -> Any:
    """Declare a field that is a column.

    Args:
        title: heading of the column.
        value: computes the field from rows of `benchmark.parquet`; a name takes the first value of
            that column, None that of the column with the field's own name.
        show: makes a cell of the field's value.
        missing: explains a missing value.
        meaning: tooltip of the heading; by default that of the column of `benchmark.parquet`.
        cell: makes a cell of the table row, for a cell that shows several fields.
    """
    shown = {} if missing is None else {"missing": missing}
    return field(
        metadata={
            "value": value,
            "columns": lambda name: (
                Column(title, cell or (lambda row: show(getattr(row, name), **shown)), meaning),
            ),
        }
    )


def average(title: str, name: str, *, missing: str = NOT_MEASURED) -> Any:
    """Declare a column with the mean of a column of `benchmark.parquet`, which explains it."""
    show = time if title.endswith("(s)") else number
    return column(
        title, lambda rows: mean(rows, name), show, missing=missing, meaning=MEANINGS[name]
    )


def columns(*shown: Column, value: str | Value | None = None) -> Any:
    """Declare a field that is several columns.

    Args:
        shown: the columns.
        value: computes the field from rows of `benchmark.parquet`, as for `column`.
    """
    return field(metadata={"value": value, "columns": lambda _: shown})


def hidden(value: str | Value | None = None) -> Any:
    """Declare a field that is no column of its own."""
    return field(metadata={"value": value})


def build(row_type: type[R], rows: Sequence[Row], **given: Any) -> R:
    """Return a table row.

    Args:
        row_type: its class.
        rows: of `benchmark.parquet`, from which its fields are computed.
        given: fields that are known already.
    """
    for each in fields(row_type):
        if each.name not in given:
            value = each.metadata["value"]
            given[each.name] = value(rows) if callable(value) else first(rows, value or each.name)
    return row_type(**given)


def make_table(row_type: type[R], rows: Iterable[R]) -> ReportTable:
    """Return the table of rows whose class declares its columns.

    Args:
        row_type: the class.
        rows: from top to bottom.
    """
    shown = [
        each
        for declared in fields(row_type)
        if "columns" in declared.metadata
        for each in declared.metadata["columns"](declared.name)
    ]
    return tabulate(row_type.caption, shown, rows, row_type.labels)


def tabulate(
    caption: str, shown: Iterable[Column], rows: Iterable[object], labels: int = 1
) -> ReportTable:
    """Return the table of any rows, without the columns in which no row has a value.

    Args:
        caption: what the table shows.
        shown: its columns.
        rows: from top to bottom.
        labels: number of row headings.
    """
    shown = list(shown)
    cells = [[each.cell(row) for each in shown] for row in rows]
    # Mean and percentiles of one latency are compared, so they have one unit.
    seconds: dict[str, list[float]] = {}
    for place, each in enumerate(shown):
        times = [row[place].seconds for row in cells]
        seconds.setdefault(_latency(each), []).extend(one.mean for one in times if one is not None)
    for place, each in enumerate(shown):
        times = [row[place].seconds for row in cells]
        factor, unit = time_unit(seconds[_latency(each)])
        if factor != 1:
            shown[place] = replace(each, title=each.title.replace("(s)", f"({unit})"))
            for row, taken in zip(cells, times, strict=True):
                if taken is not None:
                    row[place] = _time_in(factor, taken)
    filled = [
        place < labels or not cells or any(row[place].text != MISSING for row in cells)
        for place in range(len(shown))
    ]
    empty = tuple(
        (each.title, cells[0][place].title) for place, each in enumerate(shown) if not filled[place]
    )
    return ReportTable(
        caption,
        tuple(compress(shown, filled)),
        tuple(tuple(compress(row, filled)) for row in cells),
        labels,
        empty,
    )


def _latency(shown: Column) -> str:
    return shown.title.partition(" ")[0]


def _csv(text: str) -> str:
    """Return the text of a CSV cell: one line, and no formula for a spreadsheet to run."""
    line = "; ".join(text.splitlines())
    is_formula = line.startswith(("=", "+", "-", "@", "\t")) and not _NUMBER.fullmatch(line)
    return f"'{line}" if is_formula else line


def as_csv(table: ReportTable) -> str:
    """Return a table as CSV; notes are in a column of their own, behind the one they belong to."""
    noted = [any(row[place].note for row in table.rows) for place in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    lines = [[(each.title, f"{each.title}: note") for each in table.columns]]
    lines += [[(_csv(cell.text), _csv(cell.note)) for cell in row] for row in table.rows]
    for line in lines:
        pairs = zip(line, noted, strict=True)
        writer.writerow([part for pair, both in pairs for part in pair[: 1 + both]])
    return out.getvalue()
