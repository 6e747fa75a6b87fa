"""The files of a load test: JSON, and Parquet with the columns of a sweep's results."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.errors import EnvironmentFault
from medsweep.loadgen.bench import VARIANT, MeasuredPoint
from medsweep.loadgen.load_columns import CLIENT_LIMITED, arrivals_of, load_notes
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.request_record import RequestRecord
from medsweep.metrics.significance import coefficient_of_variation
from medsweep.metrics.statistics import repeat_interval
from medsweep.results.files import BENCHMARK_FILE
from medsweep.results.provenance import provenance
from medsweep.results.schema import BENCHMARK, REQUESTS, arrow_schema
from medsweep.results.store import aside, write_rows

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ROWS_AT_ONCE = 10_000
# In place of the hardware profile, which a load test does not know.
PROFILE = "server"


def check_writable(folder: Path) -> None:
    """Create a folder and check that files can be written to it, before the load starts.

    Raises:
        EnvironmentFault: they cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EnvironmentFault(f"{folder}: cannot be written: {error.strerror}") from None


def point_json(measured: MeasuredPoint) -> dict[str, Any]:
    """Return one entry of `points`."""
    point, figures = measured.point, measured.figures
    failed = dict(figures.failed_by_kind)
    sent = figures.sent
    if not sent:
        # The load failed during warm-up: show those failures.
        failed = dict(figures.unmeasured_failed_by_kind)
        sent = sum(failed.values())
    return {
        "load": {
            "name": point.name,
            "concurrency": point.concurrency,
            "rate_rps": point.rate,
            "arrivals": arrivals_of(point),
            "shape": point.arrival_shape,
            "warmup": point.warmup_requests,
            "duration_s": point.duration_s,
        },
        "repeat": measured.repeat,
        "status": "failed" if measured.gave_up else "ok",
        "ended_early": measured.ended_early,
        "requests": {
            "sent": sent,
            "ok": figures.ok,
            "failed": sum(failed.values()),
            "failed_by_kind": failed,
            "empty": figures.empty,
        },
        **{f"{name}_s": asdict(summary) for name, summary in figures.latencies.items()},
        "window_s": figures.window_s,
        "requests_per_s": figures.requests_per_s,
        "output_tokens_per_s": figures.output_tokens_per_s,
        "goodput_rps": figures.goodput_rps,
        "itl_unit": figures.itl_unit,
        "e2e_growth_s_per_s": figures.growth,
        "met": measured.met,
        "met_reason": measured.met_reason,
        "shards": None if measured.split is None else asdict(measured.split),
        "client_limited": measured.client_limited,
        "client_error_figures": measured.columns["client_error_figures"],
        "calibrations": [asdict(each) for each in measured.calibrations],
        "ended_at": measured.ended_at,
        "notes": notes(measured),
    }


def notes(measured: MeasuredPoint) -> list[str]:
    """Return why a load ended early, and what to know beside the figures."""
    ended = [measured.ended_early] if measured.ended_early else []
    limited = [CLIENT_LIMITED] if measured.client_limited else []
    return ended + load_notes(measured.point, measured.figures) + limited


def over_repeats(results: Sequence[MeasuredPoint]) -> list[dict[str, Any]]:
    """Return for each load point the means over its repeats, their 95 % t intervals and spread."""
    groups: dict[str, list[MeasuredPoint]] = {}
    for each in results:
        if each.ended_early is None and not each.gave_up:
            groups.setdefault(each.point.name, []).append(each)
    rows = []
    for name, members in groups.items():
        row: dict[str, Any] = {"load": name, "repeats": len(members)}
        values: dict[str, list[float | None]] = {
            f"{latency}_mean_s": [each.figures.latencies[latency].mean for each in members]
            for latency in ("ttft", "tpot", "itl", "e2e")
        }
        values["requests_per_s"] = [each.figures.requests_per_s for each in members]
        values["output_tokens_per_s"] = [each.figures.output_tokens_per_s for each in members]
        for figure, numbers in values.items():
            known = [number for number in numbers if number is not None]
            row[figure] = (
                {**asdict(repeat_interval(known)), "cv": coefficient_of_variation(known)}
                if known
                else None
            )
        rows.append(row)
    return rows


def write_benchmark(
    folder: Path,
    job: LoadJob,
    results: Sequence[MeasuredPoint],
    quality: Mapping[tuple[LoadPoint, int], Mapping[str, Any]] | None = None,
) -> None:
    """Write `benchmark.parquet`, one row per load point and repeat.

    Args:
        folder: where it goes.
        job: what was sent.
        results: what was measured.
        quality: the columns of graded answers, by load point and repeat.

    Raises:
        EnvironmentFault: no space, or no permission.
    """
    graded = quality or {}
    rows = [
        {**benchmark_row(job, each), **graded.get((each.point, each.repeat), {})}
        for each in results
    ]
    write_rows(folder / BENCHMARK_FILE, BENCHMARK, rows)


def benchmark_row(job: LoadJob, measured: MeasuredPoint) -> dict[str, Any]:
    """Return one load point and repeat with the columns of `benchmark.parquet`."""
    return {
        "sweep": "bench",
        "cell": f"{job.model}@{PROFILE}",
        "key": "bench",
        "model": job.model,
        "profile": PROFILE,
        "max_tokens": job.max_tokens,
        "instruction": job.instruction,
        "basis": "observed",
        **provenance(),
        "measured_at": measured.ended_at,
        **measured.columns,
        "status": "failed" if measured.gave_up else "ok",
        "reason": measured.ended_early,
    }


def _measurement(point: LoadPoint, repeat: int) -> dict[str, Any]:
    return {"load_point": point.name, "repeat": repeat, "variant": VARIANT}


class RequestsFile:
    """`requests.parquet`, written in groups of rows as load points end, to bound memory.

    Args:
        folder: where it is written; under another name until `close`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "requests.parquet"
        self._temporary = aside(self._path)
        self._writer: pq.ParquetWriter | None = None

    def add(self, point: LoadPoint, repeat: int, records: Iterable[RequestRecord]) -> None:
        """Write the records of one load point."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = arrow_schema(REQUESTS)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary, schema, compression="zstd")
        rows = (_request_row(point, repeat, record, schema.names) for record in records)
        while group := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            self._writer.write_table(pa.Table.from_pylist(group, schema=schema))

    def close(self) -> None:
        """Give the file its name."""
        if self._writer is None:
            return
        try:
            self._writer.close()
            self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


def _request_row(
    point: LoadPoint, repeat: int, record: RequestRecord, columns: Iterable[str]
) -> Mapping[str, Any]:
    measurement = _measurement(point, repeat)
    return {
        name: measurement[name] if name in measurement else getattr(record, name)
        for name in columns
    }
