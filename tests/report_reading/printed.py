"""Printed tables, and whether a printed figure agrees with what it should be."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

DASH = "\N{EN DASH}"

NUMBER = re.compile(r"(?<![A-Za-z\d])[+\N{MINUS SIGN}-]?\d[\d,]*(?:\.\d+)?")

Text = dict[str, str]
Expected = dict[str, Any]


@dataclass(frozen=True)
class Near:
    """A number that is itself an estimate, such as a p value of drawn signs."""

    value: float
    tolerance: float


@dataclass(frozen=True)
class Around:
    """An interval of which only its place is known: around a mean, about as wide as Student's."""

    mean: float
    margin: float


@dataclass(frozen=True)
class Below:
    """A time that was measured as less than 0 by so much: at most the double is printed."""

    amount: float


def agrees(text: str, expected: object, *, tens: bool = False) -> bool:
    """Return whether a cell says what is expected, within half a unit of its last digit.

    Args:
        text: of the cell.
        expected: what it should say.
        tens: its zeros at the end may stand for rounded digits.
    """
    if expected is None:
        return text in (DASH, "")
    if isinstance(expected, str):
        return text == expected
    printed = [_value(each, tens=tens) for each in NUMBER.findall(text)]
    if isinstance(expected, Below):
        [(value, _)] = printed
        return text.startswith("< ") and expected.amount <= value <= 2 * expected.amount
    if isinstance(expected, Near):
        [(value, half)] = printed
        return abs(value - expected.value) <= half + expected.tolerance
    if isinstance(expected, Around):
        (low, half), (high, _) = printed
        inside = low - half <= expected.mean <= high + half
        return inside and 0.5 * expected.margin <= (high - low) / 2 + half
    wanted = [expected] if isinstance(expected, (int, float)) else list(expected)  # type: ignore[call-overload]
    return len(printed) == len(wanted) and all(
        abs(value - each) <= half * (1 + 1e-6) + 1e-12
        for (value, half), each in zip(printed, wanted, strict=True)
    )


def _value(text: str, *, tens: bool = False) -> tuple[float, float]:
    """Return a printed number, and half a unit of its last digit."""
    plain = text.replace(",", "").replace("\N{MINUS SIGN}", "-")
    zeros = len(plain) - len(plain.rstrip("0")) if tens and "." not in plain else 0
    return float(plain), 0.5 * 10.0 ** (zeros - len(plain.partition(".")[2]))


def tables_of(folder: Path) -> dict[str, list[Text]]:
    """Return the rows of each CSV table of a report, by its name."""
    tables = {}
    for path in sorted((folder / "tables").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as lines:
            tables[path.stem] = list(csv.DictReader(lines))
    return tables


class _Tables(HTMLParser):
    """Collects the tables of a page: a row is a list of texts, notes behind their cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[str, str]]]] = []
        self._at = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(("", ""))
            self._at = "text"
        elif tag == "small" and self._at:
            self._at = "note"
        elif tag == "summary" and self._at:
            self._at = "label"  # of folded text

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._at = ""
        elif tag in ("small", "summary") and self._at:
            self._at = "text"

    def handle_data(self, data: str) -> None:
        if self._at in ("text", "note"):
            text, note = self.tables[-1][-1].pop()
            added = (text + data, note) if self._at == "text" else (text, note + data)
            self.tables[-1][-1].append(added)


def page_tables(page: Path) -> list[list[Text]]:
    """Return the tables of a page in the form of its CSV files: a note is a column of its own."""
    parser = _Tables()
    parser.feed(page.read_text(encoding="utf-8"))
    found = []
    for head, *rows in parser.tables:
        titles = [title.strip() for title, _ in head]
        noted = [any(row[place][1] for row in rows) for place in range(len(titles))]
        found.append(
            [
                {
                    name: "; ".join(text.strip().splitlines())
                    for title, cell, both in zip(titles, row, noted, strict=True)
                    for name, text in zip((title, f"{title}: note"), cell[: 1 + both], strict=False)
                }
                for row in rows
            ]
        )
    return found
