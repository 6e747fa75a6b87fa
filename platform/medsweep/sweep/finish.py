"""Finish cells that have all their measurements: write their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medsweep.errors import MedSweepError
from medsweep.finetune.adapter import read_adapter
from medsweep.sweep.assemble import assemble
from medsweep.sweep.cell import AnyCell, ServerCell
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.finetune import adapter_folder
from medsweep.sweep.predict import roofline_columns


def finish_cells(context: MeasurementContext, cells: Sequence[AnyCell]) -> None:
    """Write the `cell.json` of cells that have all their measurements.

    Args:
        context: what they were measured with.
        cells: which ones.
    """
    measured = {cell: context.cell_folder(cell).measurement_rows() for cell in cells}
    for cell, each in measured.items():
        try:
            context.cell_folder(cell).finish("ok", None, assembled(context, cell, each))
        except MedSweepError as error:
            context.give_up(cell, str(error), each[-1])


def assembled(
    context: MeasurementContext, cell: AnyCell, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return a cell's rows of `benchmark.parquet`, made from the rows of its measurements."""
    adapter, predictions = None, {}
    if not isinstance(cell, ServerCell):
        plan = context.resolved.plan.adapters[cell.adapter]
        adapter = read_adapter(adapter_folder(context.folder, plan))
        if all(row["basis"] == "observed" for row in rows):
            longest = context.longest_request(cell, adapter.template)
            predictions = roofline_columns(context.spec, cell, context.lengths, longest=longest)
    return assemble(context.columns(cell), rows, adapter=adapter, predictions=predictions)
