"""One trial: a fine-tune whose figures are recorded after each epoch; needs no Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsweep.errors import MedSweepError
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.session import finetune
from medsweep.search.grid import variant
from medsweep.search.record import kept, read_record


def run_trial(
    job: FineTuneJob,
    point: Mapping[str, Any],
    records: Path,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Fine-tune one point of the grid, and record each epoch before it is reported.

    What an earlier run recorded is reported again without training, so that a search that was
    killed goes on from there; only a trial that was cut short is trained anew.

    Args:
        job: the recipe; the point's values replace its own.
        point: value by parameter.
        records: folder of the records.
        report: told of each epoch; what it raises ends the trial.
    """
    trial = variant(job, point)
    record = read_record(records, trial.identity[:16], point)
    for row in record.rows:
        report(row)
    if record.done:
        return
    told = len(record.rows)

    def on_epoch(row: Mapping[str, Any]) -> None:
        if row["epoch"] > told:
            record.rows.append(kept(row, _peak_gpu_memory_bytes()))
            if row["epoch"] == trial.recipe.epochs:
                record.status = "finished"  # ASHA ends a trial in its last report
            record.write(records)
            report(record.rows[-1])

    # The adapter of a trial is not kept: the best recipe is fine-tuned once more, by its sweep.
    with tempfile.TemporaryDirectory(dir=records) as scratch:
        try:
            finetune(replace(trial, folder=Path(scratch) / "adapter"), on_epoch)
            record.status = "finished"
        except MedSweepError as error:
            record.status, record.reason = "failed", str(error)
    record.write(records)


def _peak_gpu_memory_bytes() -> int | None:
    """Return the most that was allocated since the last call, or None without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    peak: int = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak
