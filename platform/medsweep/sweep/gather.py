"""Make one set of results out of cells that were measured elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medsweep.results.cells import CellFolder
from medsweep.results.store import exclusive
from medsweep.sweep.cell_columns import cell_columns
from medsweep.sweep.collect import Summary, write_results, write_spec
from medsweep.sweep.resolve import Resolved


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
    spec = resolved.spec
    folder = (out / spec.name).resolve()
    with exclusive(folder):
        write_spec(spec, folder)
        for cell in resolved.plan.cells:
            place = CellFolder(folder / "cells" / cell.key)
            if place.record() is None:
                status = "refused" if cell.refused else "failed"
                reason = cell.refused or reasons.get(cell.name, "no result came from the cluster")
                columns = cell_columns(spec, cell, resolved.split.sha256, resolved.revisions)
                row = {**columns, "basis": "predicted", "status": status, "reason": reason}
                place.finish(status, reason, [row])
        return write_results(resolved, folder, came)
