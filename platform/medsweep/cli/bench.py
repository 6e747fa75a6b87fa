"""`medsweep bench`: load-test any OpenAI-compatible server."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep import __version__
from medsweep.errors import EXIT_DONE, InputError, MedSweepError

if TYPE_CHECKING:
    from medsweep.cli.live import Live
    from medsweep.loadgen.bench import Bench
    from medsweep.loadgen.objective import Objective
    from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt

EXAMPLES = """examples:
  medsweep bench http://127.0.0.1:8000/v1 --model m --concurrency 1,8,64
  medsweep bench http://127.0.0.1:8000/v1 --model m --rate 2,5,10 --arrivals poisson --repeats 3
  medsweep bench http://127.0.0.1:8000/v1 --model m --find-max --slo ttft_p95=0.5s"""

# Measured requests of a load point where nothing is said: this many, or so many for each that is
# in flight, or so many seconds of an open loop.
_REQUESTS, _WAVES, _SECONDS = 64, 5, 10
# Concurrency that shows where --find-max may begin.
_START_AT = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = f"{EXAMPLES}\n\n{parser.epilog}"
    parser.add_argument("url", metavar="URL", help="root of the API with its version")
    parser.add_argument("--model", required=True, metavar="NAME", help="as the server knows it")
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--concurrency", metavar="N,N", help="closed loop: requests kept in flight; default: 1"
    )
    load.add_argument("--rate", metavar="R,R", help="open loop: requests a second")
    load.add_argument(
        "--replay", type=Path, metavar="FILE", help="open loop: a time stamp a line, s or ISO 8601"
    )
    load.add_argument(
        "--find-max", action="store_true", help="find the highest rate that meets --slo"
    )
    parser.add_argument(
        "--arrivals",
        default="constant",
        metavar="KIND",
        help="of an open loop: constant (evenly spaced), poisson, gamma, burst; gamma:SHAPE and "
        "burst:SIZE set their shape; default: constant",
    )
    parser.add_argument(
        "--slo",
        action="append",
        default=[],
        metavar="FIGURE=LIMIT",
        help="such as ttft_p95=0.5s or e2e_p99=4s; several by comma; goodput counts by it",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--requests",
        type=int,
        metavar="N",
        help="measured at each load; default: 64, 5 for each in flight, or 10 s worth",
    )
    amount.add_argument("--duration", metavar="S", help="seconds that are measured at each load")
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="default: 128")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompts", type=Path, metavar="FILE", help="one a line: text, or JSON")
    source.add_argument("--dataset", default="embedded", metavar="NAME", help="default: embedded")
    parser.add_argument("--endpoint", choices=["chat", "completions"], default="chat")
    parser.add_argument(
        "--warmup", type=int, metavar="N", help="requests before; default: the first full wave"
    )
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="of each load")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of arrivals and order")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="default: 60")
    parser.add_argument(
        "--max-error-rate",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="a load point with more failures stops; default: 0.1",
    )
    parser.add_argument(
        "--api-key-env", metavar="VAR", help="environment variable that holds the API key"
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="may be repeated"
    )
    parser.add_argument("--processes", default="auto", metavar="N", help="client; default: auto")
    parser.add_argument("--json", metavar="OUT.json", help="write the figures; - for stdout")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write benchmark.parquet and requests.parquet"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure every load point; say what failed and what to do about it."""
    points = _points(options)
    objectives = _objectives(options)
    from medsweep.loadgen.bench import Bench
    from medsweep.loadgen.fleet import Fleet, processes_for

    count = processes_for(points)
    if options.processes != "auto":
        count = int(_positive("--processes", options.processes))
    # The processes start while the prompts are read.
    with Fleet(count) as fleet:
        bench = Bench(_job(options, points[0]), fleet, objectives, options.out)
        with _files(options, bench) as result:
            if options.find_max:
                result["find_max"] = _find_max(options, bench, points[0])
            else:
                _measure_all(options, bench, points)
            bench.calibrate()
    return _verdict(bench)


def _points(options: argparse.Namespace) -> list[LoadPoint]:
    """Return the load points that the options ask for; of --find-max, the first to try."""
    from medsweep.loadgen.questions import read_replay
    from medsweep.loadgen.spec import LoadPoint

    if options.repeats < 1:
        raise InputError(f"--repeats must be at least 1, not {options.repeats}")
    if options.find_max and not options.slo:
        raise InputError("--find-max needs an objective: --slo ttft_p95=0.5s")
    if options.find_max and options.repeats > 1:
        raise InputError("--find-max measures many rates once; leave --repeats out")
    duration_s = None if options.duration is None else _positive("--duration", options.duration)
    if options.replay is not None:
        due_s = read_replay(options.replay)
        return [LoadPoint(due_s=due_s, warmup=options.warmup, duration_s=duration_s)]
    if options.rate is None and not options.find_max:
        numbers = [int(n) for n in _list("--concurrency", options.concurrency or "1", whole=True)]
        return [
            LoadPoint(
                concurrency=n,
                requests=options.requests or max(_REQUESTS, _WAVES * n),
                warmup=options.warmup,
                duration_s=duration_s,
            )
            for n in numbers
        ]
    kind, _, shape = options.arrivals.partition(":")
    return [
        LoadPoint(
            rate=rate,
            arrivals=kind,
            shape=_positive("--arrivals", shape) if shape else None,
            requests=options.requests or max(_REQUESTS, math.ceil(_SECONDS * rate)),
            warmup=options.warmup,
            duration_s=duration_s,
        )
        for rate in _list("--rate", options.rate or "1")
    ]


def _objectives(options: argparse.Namespace) -> list[Objective]:
    from medsweep.loadgen.objective import parse_objective

    return [parse_objective(text) for given in options.slo for text in given.split(",")]


def _job(options: argparse.Namespace, point: LoadPoint) -> LoadJob:
    from medsweep.loadgen.spec import LoadJob

    headers = []
    for given in options.header:
        name, colon, value = given.partition(":")
        if not colon or not name.strip():
            raise InputError(f"--header {given!r}: write it as 'NAME: VALUE'")
        headers.append((name.strip(), value.strip()))
    if not 0 <= options.max_error_rate <= 1:
        raise InputError(f"--max-error-rate is a share from 0 to 1, not {options.max_error_rate}")
    return LoadJob(
        base_url=options.url,
        model=options.model,
        prompts=_prompts(options),
        point=point,
        seed=options.seed,
        max_tokens=options.max_tokens,
        endpoint=options.endpoint,
        timeout_s=options.timeout,
        api_key_env=options.api_key_env,
        max_error_rate=options.max_error_rate,
        headers=tuple(headers),
        keep_text=False,
    )


def _prompts(options: argparse.Namespace) -> tuple[Prompt, ...]:
    from medsweep.loadgen.questions import read_prompts
    from medsweep.loadgen.spec import Prompt

    if options.prompts is not None:
        return read_prompts(options.prompts)
    from medsweep.datasets.load import load_sources
    from medsweep.datasets.spec import DatasetSpec

    try:
        spec = DatasetSpec(name=options.dataset)
    except ValueError as error:
        raise InputError(f"--dataset {options.dataset}: {error}") from None
    pairs = [pair for source in load_sources(spec) for pair in source.pairs]
    return tuple(Prompt(pair.question_id, pair.question) for pair in pairs)


def _measure_all(options: argparse.Namespace, bench: Bench, points: list[LoadPoint]) -> None:
    from medsweep.loadgen.bench import visits

    order = visits(points, options.repeats, options.seed)
    live = _watch(bench, len(order))
    for point, repeat in order:
        live.add(bench.measure(point, repeat))
    place = {point: number for number, point in enumerate(points)}
    bench.measured.sort(key=lambda each: (place[each.point], each.repeat))


def _find_max(options: argparse.Namespace, bench: Bench, first: LoadPoint) -> dict[str, Any]:
    """Find the highest rate by bisection, from what a few requests at a time get through.

    A rate at which the client lags counts as missed: nothing above it can be told.
    """
    from dataclasses import replace

    from medsweep.loadgen.find_max import find_max
    from medsweep.loadgen.spec import LoadPoint

    live = _watch(bench, None)
    least = max(each.least_requests for each in bench.objectives)

    def meets(rate: float) -> bool:
        wanted = options.requests or math.ceil(rate * (first.duration_s or _SECONDS))
        point = replace(first, rate=rate, requests=max(wanted, least), duration_s=None)
        measured = bench.measure(point, hopeless_ends=True)
        live.add(measured)
        return bool(measured.met) and not measured.client_limited

    start = bench.measure(LoadPoint(concurrency=_START_AT, requests=_REQUESTS))
    live.add(start)
    if start.gave_up:
        return {"objectives": None, "rate_rps": None, "lowest_missed_rps": None}
    rate, missed = find_max(meets, start_rps=start.figures.requests_per_s or 1.0)
    names = ", ".join(each.name for each in bench.objectives)
    found = "no rate that was tried meets" if rate is None else f"{rate:.3g} requests/s meet"
    print(f"{found} {names}" + (f"; {missed:.3g} do not" if missed is not None else ""))
    return {"objectives": names, "rate_rps": rate, "lowest_missed_rps": missed}


def _watch(bench: Bench, total: int | None) -> Live:
    from medsweep.cli.live import Live

    live = Live(total)
    bench.on_progress = live.show
    return live


@contextlib.contextmanager
def _files(options: argparse.Namespace, bench: Bench) -> Iterator[dict[str, Any]]:
    """Yield what goes into the JSON beside the points; write all files at the end.

    Also when the load test is interrupted: what was measured stays.
    """
    from medsweep.loadgen import bench_files
    from medsweep.results.store import write_json

    result: dict[str, Any] = {
        "medsweep": __version__,
        "url": options.url,
        "model": options.model,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    requests = None
    # What cannot be written must not be found out after the load.
    for path in (options.out, None if options.json in (None, "-") else Path(options.json).parent):
        if path is not None:
            bench_files.check_writable(path)
    if options.out is not None:
        requests = bench_files.RequestsFile(options.out)
        bench.on_records = requests.add
    try:
        yield result
    finally:
        result["points"] = [bench_files.point_json(each) for each in bench.measured]
        if options.repeats > 1:
            result["over_repeats"] = bench_files.over_repeats(bench.measured)
        if options.json == "-":
            print(json.dumps(result, indent=2))
        elif options.json is not None:
            write_json(Path(options.json), result)
        if requests is not None:
            requests.close()
            bench_files.write_benchmark(options.out, bench.job, bench.measured)


def _verdict(bench: Bench) -> int:
    """Say what can be done about failures, and return the exit code."""
    from medsweep.loadgen.failures import ADVICE

    words: dict[str, str] = {}
    for each in bench.measured:
        words = {**each.figures.words, **words}
    for kind, said in words.items():
        advice = f"; {ADVICE[kind]}" if kind in ADVICE else ""
        print(f"medsweep: {kind}: {said}{advice}", file=sys.stderr)
    failed = any(
        each.gave_up or not (each.figures.ok or each.ended_early) for each in bench.measured
    )
    return MedSweepError.exit_code if failed else EXIT_DONE


def _list(option: str, text: str, *, whole: bool = False) -> list[float]:
    numbers = [_positive(option, part) for part in text.split(",")]
    if whole and any(number != int(number) for number in numbers):
        raise InputError(f"{option} {text}: whole numbers, separated by commas")
    if len(set(numbers)) != len(numbers):
        raise InputError(f"{option} {text}: each load once; --repeats measures them several times")
    return numbers


def _positive(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{option} {text}: numbers above 0, separated by commas")
    return number
