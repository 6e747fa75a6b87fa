"""Load, plan and run a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.api.results import Results
from medsweep.api.table import Table
from medsweep.errors import require

if TYPE_CHECKING:
    from medsweep.sweep.spec import SweepSpec


def load_sweep(path: str | Path, **overrides: Any) -> SweepSpec:
    """Read a sweep file.

    Args:
        path: the YAML file.
        overrides: fields to set, with two underscores for a dot: `load__repeats=5`.

    Raises:
        ConfigError: the file has faults; it lists them all, each with its line.
    """
    from medsweep.config import load_config
    from medsweep.sweep.spec import SweepSpec

    # JSON is YAML, in which overrides are written.
    assignments = [
        f"{field.replace('__', '.')}={json.dumps(value)}" for field, value in overrides.items()
    ]
    return load_config(SweepSpec, Path(path), assignments)


def run(sweep: SweepSpec, out: str | Path = "results", *, metrics_port: int = 0) -> Results:
    """Run a sweep on this machine, or resume it; results that exist are kept.

    A cell that fails or cannot run is a row with its status and reason.

    Args:
        sweep: what to run.
        out: parent of the results' folder.
        metrics_port: TCP port of the live metrics on 127.0.0.1; 0 takes a free one.

    Raises:
        EnvironmentFault: another run writes to that folder, a port is in use, no space is left.
    """
    require("ray", "torch")
    from medsweep.sweep.resolve import resolve
    from medsweep.sweep.run import run_sweep

    summary = run_sweep(resolve(sweep), Path(out), metrics_port=metrics_port)
    return Results(summary.folder)


PLAN_COLUMNS = (
    "cell",
    "status",
    "reason",
    "dtype",
    "load_point",
    "ttft_mean_s",
    "tpot_mean_s",
    "e2e_mean_s",
    "requests_per_s",
    "output_tokens_per_s",
    "key",
)


def plan(sweep: SweepSpec) -> Table:
    """Predict what a sweep would do, without starting anything.

    The figures are bounds computed from datasheets, not measurements: see docs/prediction.md.

    Args:
        sweep: what would run.

    Returns:
        One row per cell and load point; a refused cell is one row with its reason.
    """
    from medsweep.sweep.cell_columns import cell_columns
    from medsweep.sweep.predict import lengths_of, predict_cell, predicted_rows
    from medsweep.sweep.resolve import resolve

    resolved = resolve(sweep)
    lengths = lengths_of(resolved.split.train, resolved.split.evaluation)
    rows = [
        row
        for cell in resolved.plan.cells
        for row in predicted_rows(resolved, predict_cell(sweep, cell, lengths))
    ]
    # Of an external server nothing is known before it is asked.
    rows += [
        cell_columns(resolved, cell)
        | {"status": "refused" if cell.refused else None, "reason": cell.refused}
        for cell in resolved.plan.servers
    ]
    return Table([{column: row.get(column) for column in PLAN_COLUMNS} for row in rows])
