"""Make one set of results out of cells that were measured elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from medsweep.results.cells import CellFolder
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import exclusive, read_rows, write_rows, write_text
from medsweep.sweep.identity import cell_columns
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.run import Summary


def gather(resolved: Resolved, out: Path, reasons: Mapping[str, str], came: int = 0) -> Summary:
    """Write a sweep's files from the cells that are there; a cell without a result is a row too.

    Args:
        resolved: the sweep.
        out: parent of the sweep's folder.
        reasons: why a cell has no result, by its name.
        came: cells that came now.

    Raises:
        EnvironmentFault: a run is at work there, no space is left.
    """
    import yaml

    from medsweep.monitoring.prometheus import textfile
    from medsweep.report.page import write_report

    spec, rows, states = resolved.spec, [], Counter[str]()
    failures: dict[str, str] = {}
    folder = (out / spec.name).resolve()
    with exclusive(folder):
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
        write_text(folder / "sweep.yaml", text)
        for cell in sorted(resolved.plan.cells, key=lambda cell: cell.name):
            place = CellFolder(folder / "cells" / cell.key)
            if place.record() is None:
                status = "refused" if cell.refused else "failed"
                reason = cell.refused or reasons.get(cell.name, "no result came from the cluster")
                columns = cell_columns(spec, cell, resolved.split.sha256, resolved.revisions)
                row = {**columns, "basis": "predicted", "status": status, "reason": reason}
                place.finish(status, reason, [row])
            record = place.record() or {}
            rows += record["rows"]
            states[record["status"]] += 1
            if record["status"] == "failed":
                failures[cell.name] = record["reason"]
        write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
        # Read back, so that every row has every column.
        write_text(folder / "metrics.prom", textfile(read_rows(folder / "benchmark.parquet")))
        write_report(folder)
    return Summary(folder, came, dict(states), failures)
