"""The trials of a search: the points of the grid, and one fine-tune per point. Needs no Ray."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsweep.errors import MedSweepError
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.session import finetune
from medsweep.search.record import PARAMETERS, Point, kept, read_record
from medsweep.search.spec import SearchSpec


def grid(spec: SearchSpec, job: FineTuneJob) -> list[Point]:
    """Return every combination of the grid, shuffled, so that ASHA favours no value.

    Args:
        spec: the grid.
        job: has the values that the grid leaves out, and the seed of the order.
    """
    values = [getattr(spec, name) or [getattr(job.recipe, name)] for name in PARAMETERS]
    points = [dict(zip(PARAMETERS, point, strict=True)) for point in itertools.product(*values)]
    random.Random(job.seed).shuffle(points)  # noqa: S311 an order, not a secret
    return points


def trial_job(job: FineTuneJob, point: Point) -> FineTuneJob:
    """Return the job of one trial; it writes no checkpoints."""
    return replace(job, recipe=job.recipe.changed(**point), checkpoints=None)


def run_trial(
    job: FineTuneJob,
    point: Point,
    records: Path,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Fine-tune one point of the grid, and record each epoch before it is reported.

    Epochs that an earlier run recorded are reported again without training, so a search that was
    killed continues; only an interrupted trial is trained again from its start.

    Args:
        job: the sweep's fine-tune; the point's values replace its own.
        point: value by parameter.
        records: folder of the records.
        report: called with each epoch; an exception that it raises ends the trial.
    """
    trial = trial_job(job, point)
    record = read_record(records, trial.identity[:16], point)
    for row in record.rows:
        report(row)
    if record.done:
        return
    reported = len(record.rows)

    def on_epoch(row: Mapping[str, Any]) -> None:
        if row["epoch"] > reported:
            record.rows.append(kept(row, _peak_gpu_memory_bytes()))
            if row["epoch"] == trial.recipe.epochs:
                record.status = "finished"  # ASHA ends a trial in its last report
            record.write(records)
            report(record.rows[-1])

    # A trial's adapter is not kept: the sweep fine-tunes the best recipe again.
    with tempfile.TemporaryDirectory(dir=records) as scratch:
        try:
            finetune(replace(trial, folder=Path(scratch) / "adapter", asks=True), on_epoch)
            record.status = "finished"
        except MedSweepError as error:
            record.status, record.reason = "failed", str(error)
    record.write(records)


def _peak_gpu_memory_bytes() -> int | None:
    """Return the peak allocation since the last call, or None without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    peak: int = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak
