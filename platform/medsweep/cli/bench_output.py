"""What `medsweep bench` prints and writes: notes for people, its files, and the failures."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from medsweep.cli.bench_answers import Answers
from medsweep.errors import EXIT_DONE, MedSweepError
from medsweep.reporter import harmless
from medsweep.version import __version__

if TYPE_CHECKING:
    from medsweep.loadgen.bench import Bench
    from medsweep.loadgen.spec import LoadPoint
    from medsweep.metrics.request_record import RequestRecord


def human_stream(options: argparse.Namespace) -> TextIO:
    """Return the stream for the table: not the one that the JSON goes to."""
    return sys.stderr if options.json == "-" else sys.stdout


@contextlib.contextmanager
def output_files(options: argparse.Namespace, bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield the fields of the JSON beside the points; write all files at the end.

    Files are written when the load test is interrupted too, so that nothing measured is lost.
    """
    from medsweep.loadgen import bench_results
    from medsweep.loadgen.address import public_url
    from medsweep.results.store import write_json

    result: dict[str, Any] = {
        "medsweep": __version__,
        "url": public_url(options.url),
        "model": options.model,
        "prompts": len(bench.job.prompts),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    requests = None
    answers = Answers.of(options, bench.job)
    if options.out is not None:
        requests = bench_results.RequestsFile(options.out)

    def keep(point: LoadPoint, repeat: int, records: Iterable[RequestRecord]) -> None:
        if requests is not None:
            requests.add(point, repeat, records)
        if answers is not None:
            answers.add(point, repeat, records)

    bench.on_records = keep
    try:
        yield result
        if answers is not None:
            for line in answers.lines():
                print(line, file=human_stream(options))
    finally:
        result["points"] = [bench_results.point_json(each) for each in bench.measured]
        if answers is not None:
            answers.complete(result)
        if options.repeats > 1:
            result["over_repeats"] = bench_results.over_repeats(bench.measured)
        try:
            if requests is not None:
                requests.close()
                quality = None if answers is None else answers.columns
                bench_results.write_benchmark(options.out, bench.job, bench.measured, quality)
        finally:
            if options.json == "-":
                print(json.dumps(result, indent=2))
            elif options.json is not None:
                write_json(Path(options.json), result)


def interruption(options: argparse.Namespace, bench: Bench) -> str:
    """Return the message of an interrupted load test: what was measured, and where it is."""
    from medsweep.loadgen.bench import INTERRUPTED

    places = [str(place) for place in (options.json, options.out) if place not in (None, "-")]
    count = len(bench.measured)
    parts = sum(each.ended_early == INTERRUPTED for each in bench.measured)
    text = f"interrupted: {count} loads measured{', the last one in part' if parts else ''}"
    if places:
        return f"{text}; written to {' and '.join(places)}"
    return text if options.json else f"{text}; nothing is written without --json or --out"


def print_client_error(options: argparse.Namespace, bench: Bench) -> None:
    """Print what calibration shows of the client's part in the figures of the table."""
    from medsweep.loadgen.load_columns import CLIENT_LIMITED

    for each in bench.measured:
        columns = each.columns
        notes = []
        if each.client_limited:
            notes.append(CLIENT_LIMITED)
        if columns["client_error_figures"]:
            notes.append(f"more than a tenth is client error: {columns['client_error_figures']}")
        if each.figures.ok and each.client_limited is None:
            notes.append("whether the client keeps up with this load is not known")
        if notes:
            load = f"note on {each.point.words}, repeat {each.repeat}"
            print(f"{load}: {'; '.join(notes)}", file=human_stream(options))


def print_failures(bench: Bench) -> int:
    """Print a remedy for each kind of failure, and return the exit code."""
    from medsweep.loadgen.failures import advice_for

    first_errors: dict[str, str] = {}
    for each in bench.measured:
        first_errors = {**each.figures.first_errors, **first_errors}
    for kind, message in first_errors.items():
        advice = advice_for(kind)
        failure = harmless(f"{kind}: {message}")
        print(f"medsweep: {failure}{f'; {advice}' if advice else ''}", file=sys.stderr)
    failed = any(
        each.gave_up or not (each.figures.ok or each.ended_early) for each in bench.measured
    )
    return MedSweepError.exit_code if failed else EXIT_DONE
