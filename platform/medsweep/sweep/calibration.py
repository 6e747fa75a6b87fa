"""The client's own error before and after the loads of one deployment of a batch of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medsweep.errors import StageError
from medsweep.loadgen.calibrate import calibrate_fleet, like_load
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.load_columns import add_calibration
from medsweep.results.cells import CellFolder
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.measurements import Measurement


def calibrations(
    context: MeasurementContext, fleet: Fleet, loads: Iterable[CalibrationLoad]
) -> dict[CalibrationLoad, Calibration]:
    """Return the client's own error by load; empty if it cannot be measured.

    Args:
        context: whose progress tells why there is none.
        fleet: the load generators.
        loads: at which to measure it.
    """
    distinct = sorted(set(loads))
    if not distinct:
        return {}
    try:
        return dict(zip(distinct, calibrate_fleet(fleet, distinct), strict=True))
    except StageError as error:
        context.progress.note(f"the client's own error is not known: {error}")
        return {}


def calibrate_after(
    context: MeasurementContext, fleet: Fleet, measured: Sequence[tuple[CellFolder, Measurement]]
) -> None:
    """Add the client's error now to measurements that were just stored.

    Args:
        context: what they were measured with.
        fleet: the load generators that sent them.
        measured: each with the folder of its cell; those that were not stored are left out.
    """
    rows = []
    for folder, measurement in measured:
        if (row := folder.measurement_row(measurement.name)) is not None:
            rates = row["requests_per_s"], row["output_tokens_per_s"]
            rows.append((folder, measurement, row, like_load(measurement.point, *rates)))
    after = calibrations(context, fleet, (load for *_, load in rows))
    for folder, measurement, row, load in rows:
        if load in after:
            add_calibration(row, after[load])
            folder.replace_row(measurement.name, row)
