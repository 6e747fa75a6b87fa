"""A result set as comparisons need it: its measured rows, and its graded answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medsweep.errors import InputError
from medsweep.results.store import read_rows

BENCHMARK = "benchmark.parquet"

Row = Mapping[str, Any]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class ResultSet:
    """One sweep's results.

    Attributes:
        name: what it is called in the output.
        rows: of `benchmark.parquet`.
        answers: rows of `responses.parquet`, by cell key; empty where they are not at hand.
    """

    name: str
    rows: Sequence[Row]
    answers: Mapping[str, Sequence[Row]]

    def points(self) -> dict[tuple[str, str, str, str], list[Row]]:
        """Return the measured rows of each model, profile, variant and load point."""
        found: dict[tuple[str, str, str, str], list[Row]] = {}
        for row in self.rows:
            if row["status"] == "ok":
                point = (row["model"], row["profile"], row["variant"], row["load_point"])
                found.setdefault(point, []).append(row)
        return found

    def graded(self) -> dict[tuple[str, str, str], list[Row]]:
        """Return the graded answers of each model, profile and variant."""
        cells = {row["key"]: (row["model"], row["profile"]) for row in self.rows}
        found: dict[tuple[str, str, str], list[Row]] = {}
        for key, answers in self.answers.items():
            for answer in answers if key in cells else ():
                found.setdefault((*cells[key], answer["variant"]), []).append(answer)
        return found

    def not_ok(self) -> dict[tuple[str, str], str]:
        """Return the cells without a measurement, by model and profile, and why."""
        cells = {
            (row["model"], row["profile"]): f"{row['status']}: {row['reason']}"
            for row in self.rows
            if row["status"] != "ok"
        }
        measured = {(row["model"], row["profile"]) for row in self.rows if row["status"] == "ok"}
        return {cell: why for cell, why in cells.items() if cell not in measured}


def read_results(path: Path) -> ResultSet:
    """Read a sweep's folder, or a `benchmark.parquet` alone or in its folder.

    Raises:
        InputError: there is none, or it is not one.
    """
    file = path / BENCHMARK if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{path}: no {BENCHMARK} there; give the folder of a sweep's results, such as "
            "results/demo, or the file itself"
        )
    try:
        rows = read_rows(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as Parquet: {error}") from None
    missing = {"model", "profile", "variant", "load_point", "status"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(
            f"{file}: not a sweep's {BENCHMARK}: "
            + (f"no column {', '.join(sorted(missing))}" if rows else "no rows")
        )
    keys = dict.fromkeys(row["key"] for row in rows)
    answers = {
        key: read_rows(found)
        for key in keys
        if (found := file.parent / "cells" / str(key) / "responses.parquet").is_file()
    }
    return ResultSet(str(path), rows, answers)
