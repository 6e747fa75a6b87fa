"""A table as the page shows it: texts, titles and nothing to compute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import MISSING, bounds, share, significant
from medsweep.report.tables import QualityFigure

NOT_MEASURED = "not measured, or too few samples"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        note: smaller lines below; empty for none.
        title: explanation of a missing value; empty for none.
        kind: CSS class: "number", "text", or a state.
    """

    text: str
    note: str = ""
    title: str = ""
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """Heading of a column, with what it means."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class View:
    """One table.

    Attributes:
        caption: what it shows.
        headings: one a column.
        rows: the first `labels` cells of each are row headings.
        labels: row headings of a row.
    """

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: int = 1


def headings(*texts: str) -> tuple[Heading, ...]:
    """Return headings that need no explanation."""
    return tuple(Heading(each) for each in texts)


def text(value: object, why: str = "not recorded") -> Cell:
    """Return a cell of text; a dash that explains itself where there is none."""
    return Cell(MISSING, title=why) if value in (None, "", ()) else Cell(str(value))


def prose(value: str) -> Cell:
    """Return a cell with a sentence, which wants room."""
    return Cell(value, kind="prose")


def texts(values: Iterable[object], why: str = "not recorded") -> Cell:
    """Return a cell with all values, joined by commas."""
    return text(", ".join(str(value) for value in values), why)


def number(value: float | None, why: str = NOT_MEASURED) -> Cell:
    """Return a cell with three significant digits."""
    if value is None:
        return Cell(MISSING, title=why, kind="number")
    return Cell(significant(value), kind="number")


def count(value: int | None) -> Cell:
    """Return a cell with a whole number."""
    if value is None:
        return Cell(MISSING, title="not recorded", kind="number")
    return Cell(f"{value:,}", kind="number")


def fraction(value: float | None, why: str = "not graded") -> Cell:
    """Return a cell with a figure between 0 and 1."""
    return Cell(share(value), title=why if value is None else "", kind="number")


def interval(value: Interval | None) -> Cell:
    """Return a cell with a mean in seconds, and its interval below."""
    if value is None:
        return number(None)
    return Cell(significant(value.mean), note=bounds(value.low, value.high), kind="number")


def quality(value: QualityFigure | None) -> Cell:
    """Return a cell with a mean, and its interval and maximum below."""
    if value is None:
        return fraction(None)
    ends = bounds(value.low, value.high, 3)
    best = "" if value.max is None else f"max {share(value.max)}"
    return Cell(share(value.mean), note="\n".join(filter(None, (ends, best))), kind="number")
