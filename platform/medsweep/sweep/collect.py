"""What a sweep comes to: the files of all its cells together, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.metrics.cost import cost_columns
from medsweep.monitoring.prometheus import textfile
from medsweep.results.cells import CellFolder
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import read_rows, write_rows, write_text
from medsweep.sweep.cell_columns import price_columns
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec

FILES = ("sweep.yaml", "benchmark.parquet", "metrics.prom", "report.html")
"""What a person reads of a sweep's folder, beside its cells and adapters."""


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
        folder: of the results.
        measured: cells that this run measured.
        states: number of cells by state, over all runs.
        failures: reason by cell that failed.
    """

    folder: Path
    measured: int
    states: Mapping[str, int]
    failures: Mapping[str, str]


def write_spec(spec: SweepSpec, folder: Path) -> None:
    """Write the resolved sweep beside its results."""
    import yaml

    write_text(folder / "sweep.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))


def write_results(resolved: Resolved, folder: Path, measured: int) -> Summary:
    """Make `benchmark.parquet`, the textfile and the report from the cells that are there.

    Args:
        resolved: the sweep.
        folder: of its results.
        measured: cells that are new.
    """
    from medsweep.report.page import write_report

    rows: list[dict[str, Any]] = []
    states, failures = Counter[str](), dict[str, str]()
    for cell in sorted(resolved.plan.cells, key=lambda cell: cell.name):
        record = CellFolder(folder / "cells" / cell.key).record()
        if record is None:
            states["failed"] += 1
            failures[cell.name] = "no result could be written"
            continue
        # The price of today, whenever it was measured.
        priced = [row | price_columns(cell.profile) for row in record["rows"]]
        rows += [row | cost_columns(row) for row in priced]
        states[record["status"]] += 1
        if record["status"] == "failed":
            failures[cell.name] = record["reason"]
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    # Read back, so that every row has every column.
    write_text(folder / "metrics.prom", textfile(read_rows(folder / "benchmark.parquet")))
    write_report(folder)
    return Summary(folder, measured, dict(states), failures)
