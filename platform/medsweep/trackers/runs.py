"""Rows of `benchmark.parquet` as runs of an experiment tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.results.files import BENCHMARK_FILE
from medsweep.results.identity import IDENTITY, REQUESTED
from medsweep.results.schema import BENCHMARK

PARAMETERS = tuple(column.name for column in (*IDENTITY, *REQUESTED))
"""What was measured and what was asked for; all other columns were measured, or tell how."""

ARTIFACTS = (BENCHMARK_FILE, "report.html")


@dataclass(frozen=True)
class TrackedRun:
    """One row. Null columns are left out.

    Attributes:
        name: cell, variant, load point and repeat.
        params: the columns of PARAMETERS.
        metrics: the other columns that are numbers; their units are in their names.
        tags: the other columns that are text.
    """

    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def is_measured(self) -> bool:
        """Whether its status is ok."""
        return self.tags["status"] == "ok"


def tracked_runs(rows: Sequence[Mapping[str, Any]]) -> list[TrackedRun]:
    """Return one run per row of `benchmark.parquet`."""
    return [_tracked(row) for row in rows]


def artifacts_in(folder: Path) -> list[Path]:
    """Return the files that go along with the runs, as far as they exist."""
    return [file for name in ARTIFACTS if (file := folder / name).is_file()]


def _tracked(row: Mapping[str, Any]) -> TrackedRun:
    given = {column: row[column.name] for column in BENCHMARK if row[column.name] is not None}
    parts = [row["cell"] or row["model"], row["variant"], row["load_point"]]
    parts += [None if row["repeat"] is None else f"repeat {row['repeat']}"]
    return TrackedRun(
        name=" ".join(str(part) for part in parts if part is not None),
        params={each.name: str(value) for each, value in given.items() if each.name in PARAMETERS},
        metrics={
            each.name: float(value)
            for each, value in given.items()
            if each.name not in PARAMETERS and each.kind in ("integer", "number")
        },
        tags={
            each.name: value
            for each, value in given.items()
            if each.name not in PARAMETERS and each.kind == "text"
        },
    )
