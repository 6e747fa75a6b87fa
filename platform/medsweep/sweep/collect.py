"""The files of a whole sweep, made from its cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import MedSweepError
from medsweep.metrics.quality import Grader
from medsweep.monitoring.prometheus import textfile
from medsweep.names import first_names
from medsweep.results.cells import CellFolder
from medsweep.results.files import BENCHMARK_FILE
from medsweep.results.schema import BENCHMARK, renamed
from medsweep.results.store import (
    exclusive,
    read_json,
    read_rows,
    updating,
    write_json,
    write_rows,
    write_text,
)
from medsweep.review.verified import verified_rows
from medsweep.sweep.cell import AnyCell, Cell
from medsweep.sweep.cell_columns import priced, unmeasured_row
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec
from medsweep.version import __version__

METER = "meter.json"
LABELS = "labels.json"
FILES = ("sweep.yaml", BENCHMARK_FILE, METER, LABELS, "metrics.prom", "report.html")
"""The files of a sweep's folder that people read, beside its cells and adapters."""


@dataclass(frozen=True)
class RunSummary:
    """What a run measured, and the state of all cells after it.

    Attributes:
        folder: of the results.
        measured: cells that this run measured.
        states: number of cells by state, over all runs.
        failures: reason by name of each failed cell.
    """

    folder: Path
    measured: int
    states: Mapping[str, int]
    failures: Mapping[str, str]


def write_spec(spec: SweepSpec, folder: Path) -> None:
    """Write the resolved sweep beside its results."""
    import yaml

    write_text(folder / "sweep.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))


def record_refused(resolved: Resolved, folder: Path) -> None:
    """Write a `cell.json` for each cell that cannot run on its hardware."""
    for cell in resolved.plan.all_cells:
        if cell.refused is not None:
            _record_unmeasured(resolved, folder, cell, "refused", cell.refused)


def gather(
    resolved: Resolved, out: Path, reasons: Mapping[str, str], fetched: int = 0
) -> RunSummary:
    """Write a sweep's files from cells that were measured elsewhere.

    A cell without a result gets a row too, which says why.

    Args:
        resolved: the sweep.
        out: parent of the sweep's folder.
        reasons: why a cell has no result, by its name.
        fetched: number of cells that were fetched now.

    Raises:
        EnvironmentFault: another run holds the folder, or no space is left.
    """
    folder = (out / resolved.spec.name).resolve()
    with exclusive(folder):
        write_spec(resolved.spec, folder)
        record_refused(resolved, folder)
        for cell in resolved.plan.all_cells:
            if _record(folder, cell) is None:
                reason = reasons.get(cell.name, "no result came from the cluster")
                _record_unmeasured(resolved, folder, cell, "failed", reason)
        return write_results(resolved, folder, fetched)


def write_results(resolved: Resolved, folder: Path, measured: int) -> RunSummary:
    """Write `benchmark.parquet`, the textfile and the report from the sweep's cells.

    Args:
        resolved: the sweep.
        folder: of its results.
        measured: number of cells that are new.
    """
    cells = sorted(resolved.plan.all_cells, key=lambda cell: cell.name)
    rows: list[dict[str, Any]] = []
    for cell in cells:
        record = _record(folder, cell)
        if record is not None:
            # The price of today, whenever the cell was measured.
            rows += [priced(renamed(row), cell.profile) for row in record["rows"]]
    if any(row.get("questions") for row in rows):
        seen = _meter_columns(_metered(resolved, folder))
        rows = [row | seen if row.get("questions") else row for row in rows]
        evaluation = resolved.split.evaluation
        write_json(folder / LABELS, {pair.question_id: dict(pair.labels) for pair in evaluation})
    _write_rows(folder, rows)
    states = count_states(cell_states(folder, cells))
    states["failed"] += states.pop("pending")  # their results could not be written
    present = {state: count for state, count in states.items() if count}
    return RunSummary(folder, measured, present, failure_reasons(folder, cells))


def refresh(folder: Path) -> None:
    """Write the files of a sweep again, after answers were rated by raters or by a judge.

    Args:
        folder: of its results.
    """
    with updating(folder / BENCHMARK_FILE):
        _write_rows(folder, [renamed(row) for row in read_rows(folder / BENCHMARK_FILE)])


def _write_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from medsweep.report.page import write_report

    write_rows(folder / BENCHMARK_FILE, BENCHMARK, verified_rows(folder, rows))
    # Read back, so that every row has every column.
    write_text(folder / "metrics.prom", textfile(read_rows(folder / BENCHMARK_FILE)))
    write_report(folder)


def _metered(resolved: Resolved, folder: Path) -> list[dict[str, Any]]:
    """Return what each figure sees on the asked questions, once per dataset and version."""
    from medsweep.metrics.meter import MOST, measure_detection

    path, split = folder / METER, resolved.split
    known = read_json(path)
    named = resolved.spec.quality.entailment
    identity = {
        "dataset_sha256": split.sha256,
        "lexicon_sha256": resolved.lexicon.sha256,
        "entailment": None if named is None else named.model,
        "most_references": MOST,
        "version": __version__,
    }
    if known is None or any(known.get(name) != value for name, value in identity.items()):
        try:
            entailment = resolved.entailment
        except MedSweepError:
            # Results of a cluster, which are gathered where its model is not.
            entailment = identity["entailment"] = None
        detections = measure_detection(
            [pair.answer for pair in split.evaluation],
            [pair.question for pair in split.evaluation],
            seed=resolved.spec.seed,
            grader=Grader(resolved.lexicon, entailment),
        )
        known = {
            **identity,
            "detections": [asdict(each) for each in detections],
        }
        write_json(path, known)
    return list(known["detections"])


def _meter_columns(detections: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    from medsweep.metrics.meter import ANY_ERROR

    columns: dict[str, Any] = {}
    for each in detections:
        if each["kind"] == ANY_ERROR:
            name = f"{each['figure']}_errors_seen"
            columns |= {name: each["share"], f"{name}_low": each["low"]}
            columns |= {f"{name}_high": each["high"]}
    return columns


def cell_states(folder: Path, cells: Iterable[AnyCell]) -> dict[str, str]:
    """Return the state of each cell by its key; a cell without a record is pending.

    Args:
        folder: of the sweep's results.
        cells: which ones.
    """
    records = {cell.key: _record(folder, cell) for cell in cells}
    return {key: record["status"] if record else "pending" for key, record in records.items()}


def count_states(states: Mapping[str, str]) -> dict[str, int]:
    """Return the number of cells in each state, by the state of each cell."""
    counted = Counter(states.values())
    return {state: counted[state] for state in ("pending", "ok", "failed", "refused")}


def failure_reasons(folder: Path, cells: Iterable[AnyCell]) -> dict[str, str]:
    """Return the reason of each cell that failed, by its name.

    Args:
        folder: of the sweep's results.
        cells: which ones.
    """
    records = {cell.name: _record(folder, cell) for cell in cells}
    return {
        name: record["reason"] if record else "no result could be written"
        for name, record in records.items()
        if record is None or record["status"] == "failed"
    }


def measured_otherwise(folder: Path, cells: Iterable[AnyCell]) -> str | None:
    """Return a sentence about cells that have results of another engine; None without any.

    `engine: auto` takes another one once it is installed. The engine is part of a cell's key, so
    the earlier results count no longer.

    Args:
        folder: of the sweep's results.
        cells: those that are to be measured.
    """
    now = {cell.name: cell.serving.engine for cell in cells if isinstance(cell, Cell)}
    earlier: dict[tuple[str, str], list[str]] = {}
    for path in sorted(folder.glob("cells/*")):
        record = CellFolder(path).record()
        if record is None or record["status"] != "ok":
            continue
        cell, engine = (record["rows"][0][column] for column in ("cell", "engine"))
        if engine != now.get(cell, engine):
            earlier.setdefault((engine, now[cell]), []).append(cell)
    if not earlier:
        return None
    each = "; ".join(
        f"{first_names(list(dict.fromkeys(names)))}: {engine} before, {chosen} now"
        for (engine, chosen), names in earlier.items()
    )
    return (
        f"these cells have results of another engine here ({each}), which do not count; "
        "serve.engine names the one to take"
    )


def _record(folder: Path, cell: AnyCell) -> dict[str, Any] | None:
    return CellFolder(folder / "cells" / cell.key).record()


def _record_unmeasured(
    resolved: Resolved, folder: Path, cell: AnyCell, status: str, reason: str
) -> None:
    row = unmeasured_row(resolved, cell, status, reason)
    CellFolder(folder / "cells" / cell.key).finish(status, reason, [row])
