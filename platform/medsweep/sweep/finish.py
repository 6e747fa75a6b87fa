"""Finish cells that have all their measurements: calibrate once more, and write their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medsweep.errors import EnvironmentFault, MedSweepError, StageError
from medsweep.finetune.adapter import read_adapter
from medsweep.loadgen.calibrate import Calibration, calibrate, like_concurrency
from medsweep.loadgen.load_columns import add_calibration
from medsweep.sweep.assemble import assemble
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.finetune import adapter_folder
from medsweep.sweep.plan import Cell
from medsweep.sweep.predict import roofline_columns


def finish_cells(context: MeasurementContext, cells: Sequence[Cell]) -> None:
    """Write the `cell.json` of cells that have all their measurements.

    Args:
        context: what they were measured with.
        cells: which ones.
    """
    measured = {cell: context.cell_folder(cell).measurement_rows() for cell in cells}
    rows = [row for each in measured.values() for row in each]
    after = calibrations(context, (_like_concurrency(context, row) for row in rows))
    for row in rows:
        if (calibration := after.get(_like_concurrency(context, row))) is not None:
            add_calibration(row, calibration)
    for cell, each in measured.items():
        try:
            _finish(context, cell, each)
        except (MedSweepError, EnvironmentFault) as error:
            context.give_up(cell, str(error), each[-1])


def calibrations(
    context: MeasurementContext, concurrencies: Iterable[int]
) -> dict[int, Calibration]:
    """Return the client's own error by concurrency; empty if it cannot be measured.

    Args:
        context: whose progress tells why there is none.
        concurrencies: at which to measure it.
    """
    distinct = sorted(set(concurrencies))
    if not distinct:
        return {}
    try:
        return {each.concurrency: each for each in calibrate(distinct)}
    except StageError as error:
        context.progress.note(f"the client's own error is not known: {error}")
        return {}


def _like_concurrency(context: MeasurementContext, row: Mapping[str, Any]) -> int:
    """Return the concurrency at which the client works as hard as in a measured row."""
    point = next(
        each.point for each in context.measurements if each.point.name == row["load_point"]
    )
    return like_concurrency(point, row["requests_per_s"], row["output_tokens_per_s"])


def _finish(context: MeasurementContext, cell: Cell, rows: Sequence[Mapping[str, Any]]) -> None:
    plan = context.resolved.plan.adapters[cell.adapter]
    predictions = {}
    if all(row["basis"] == "observed" for row in rows):
        predictions = roofline_columns(context.spec, cell, context.lengths)
    assembled = assemble(
        context.columns(cell),
        rows,
        adapter=read_adapter(adapter_folder(context.folder, plan)),
        predictions=predictions,
    )
    context.cell_folder(cell).finish("ok", None, assembled)
