"""`medsweep bench`: load-test any OpenAI-compatible server."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.bench_output import (
    human_stream,
    interruption,
    output_files,
    print_client_error,
    print_failures,
)
from medsweep.cli.options import add_api_key, positive, seed
from medsweep.errors import Interrupted

if TYPE_CHECKING:
    from medsweep.cli.live import Live
    from medsweep.loadgen.bench import Bench
    from medsweep.loadgen.fleet import Fleet
    from medsweep.loadgen.spec import LoadPoint


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("url", metavar="URL", help="root of the API with its version")
    parser.add_argument(
        "--model", metavar="NAME", help="the server's name of the model; default: its only one"
    )
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--concurrency", metavar="N,N", help="closed loop: requests kept in flight; default: 1"
    )
    load.add_argument("--rate", metavar="R,R", help="open loop: requests per second")
    load.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="open loop: one time stamp per line, s or ISO 8601",
    )
    load.add_argument(
        "--find-max", action="store_true", help="find the highest rate that meets --slo"
    )
    load.add_argument(
        "--sweep",
        action="store_true",
        help="closed loops until the throughput no longer grows, then rates from 20 to 95 %% of it",
    )
    parser.add_argument(
        "--arrivals",
        metavar="KIND",
        help="spacing in an open loop: constant (even), poisson, gamma, burst; gamma:SHAPE and "
        "burst:SIZE set their shape; default: constant",
    )
    parser.add_argument(
        "--slo",
        action="append",
        default=[],
        metavar="FIGURE=LIMIT",
        help="objective, such as ttft_p95=0.5s,e2e_p99=4s; goodput counts the answers that meet it",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--requests",
        type=int,
        metavar="N",
        help="requests measured at each load; default: 64, or more for high concurrency or rate",
    )
    amount.add_argument("--duration", metavar="S", help="seconds measured at each load")
    parser.add_argument(
        "--max-tokens", type=int, default=128, metavar="N", help="longest answer; default: 128"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--prompts", type=Path, metavar="FILE", help="prompts, one per line: text, or JSON"
    )
    source.add_argument(
        "--dataset",
        metavar="NAME",
        help="ask its questions, and grade the timed answers; default: the questions of the "
        "embedded corpus, not graded",
    )
    source.add_argument(
        "--input-tokens",
        metavar="N",
        help="make prompts of this length, as the server counts: 512, 128..1024 (uniform) or "
        "128..1024:normal",
    )
    parser.add_argument(
        "--instruction",
        metavar="TEXT",
        help="system message before each question, '' for none; default: with --dataset the one "
        "that adapters are trained with, else none",
    )
    parser.add_argument(
        "--output-tokens",
        metavar="N",
        help="ask for answers of this length, in the same format",
    )
    parser.add_argument(
        "--endpoint", choices=["chat", "completions"], default="chat", help="default: chat"
    )
    parser.add_argument(
        "--warmup",
        type=int,
        metavar="N",
        help="requests before the measured ones; default: the first full wave",
    )
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="N", help="measurements of each load"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of arrivals and order"
    )
    parser.add_argument(
        "--timeout", type=positive, default=60.0, metavar="S", help="of a request; default: 60"
    )
    parser.add_argument(
        "--max-error-rate",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="stop a load if a larger share of its requests fails; default: 0.1",
    )
    add_api_key(parser)
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="header; may be repeated",
    )
    client = parser.add_mutually_exclusive_group()
    client.add_argument(
        "--processes", default="auto", metavar="N", help="of the client; default: auto"
    )
    client.add_argument(
        "--shards",
        type=positive,
        metavar="N",
        help="send from N processes on other machines: CPU nodes of this machine's Ray cluster",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        type=_json_file,
        metavar="OUT.json",
        help="print one JSON document on standard output, and nothing else there; or write it to "
        "a file",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write benchmark.parquet and requests.parquet"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="write a report too, into the folder of --out; default: results/bench",
    )
    parser.set_defaults(run=run)


def _json_file(text: str) -> str:
    """Return the file of `--json`, for argparse."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"write the URL before --json, or --json=- {text}")
    return text


def run(options: argparse.Namespace) -> int:
    """Measure every load point; print what failed and what to do about it."""
    from medsweep.cli import load_options

    if options.report and options.out is None:
        options.out = Path("results/bench")
    points = load_options.points(options)
    objectives = load_options.objectives(options)
    job = load_options.job(options, points)
    from medsweep.loadgen.bench import Bench
    from medsweep.loadgen.bench_results import check_writable

    for path in (options.out, None if options.json in (None, "-") else Path(options.json).parent):
        if path is not None:
            check_writable(path)
    with _fleet(options, points) as fleet:
        bench = Bench(job, fleet, objectives, options.out)
        try:
            with output_files(options, bench) as result:
                if options.find_max:
                    # The rates are not known before.
                    result["find_max"] = _find_max(options, bench, points[0])
                elif options.sweep:
                    result["sweep"] = _sweep(options, bench, points[0])
                else:
                    bench.calibrate_before(points)
                    _measure_all(options, bench, points)
                bench.calibrate_after()
            print_client_error(options, bench)
            if options.report and bench.measured:
                from medsweep.report.page import write_report

                print(f"report: {write_report(options.out)}", file=human_stream(options))
        except KeyboardInterrupt:
            raise Interrupted(interruption(options, bench)) from None
    return print_failures(bench)


@contextlib.contextmanager
def _fleet(options: argparse.Namespace, points: list[LoadPoint]) -> Iterator[Fleet]:
    """Run the load generators: on this machine, or as shards on others."""
    from medsweep.cli import load_options
    from medsweep.loadgen.fleet import Fleet, processes_for

    if options.shards is not None:
        from medsweep.cluster.joined import JoinedCluster
        from medsweep.loadgen.shard import LABELS, Shard

        with JoinedCluster() as cluster:
            cluster.ensure_cpus(LABELS, options.shards)
            with Fleet(options.shards, Shard) as fleet:
                yield fleet
        return
    count = processes_for(points)
    if options.processes != "auto":
        count = load_options.processes(options.processes)
    with Fleet(count) as fleet:
        yield fleet


def _measure_all(options: argparse.Namespace, bench: Bench, points: list[LoadPoint]) -> None:
    from medsweep.loadgen.bench import INTERRUPTED, shuffled_repeats

    order = shuffled_repeats(points, options.repeats, options.seed)
    live = _watch(options, bench, len(order))
    try:
        for point, repeat in order:
            live.add(bench.measure(point, repeat))
    except KeyboardInterrupt:
        if bench.measured and bench.measured[-1].ended_early == INTERRUPTED:
            live.add(bench.measured[-1])
        raise
    finally:
        place = {point: number for number, point in enumerate(points)}
        bench.measured.sort(key=lambda each: (place[each.point], each.repeat))


def _find_max(options: argparse.Namespace, bench: Bench, first: LoadPoint) -> dict[str, Any]:
    from medsweep.loadgen.find_max import find_highest_rate

    live = _watch(options, bench, None)
    found = find_highest_rate(bench, first, options.requests, live.add)
    names = ", ".join(each.name for each in bench.objectives)
    print(found.sentence(names), file=human_stream(options))
    return {
        "objectives": names,
        "rate_rps": found.rate_rps,
        "lowest_missed_rps": found.missed_rps,
        "lowest_undecided_rps": found.undecided_rps,
    }


def _sweep(options: argparse.Namespace, bench: Bench, first: LoadPoint) -> dict[str, Any]:
    from medsweep.loadgen.rate_sweep import sweep_rates

    live = _watch(options, bench, None)
    highest = sweep_rates(bench, first, options.requests, live.add)
    if highest is not None:
        print(f"highest throughput: {highest:.3g} requests/s", file=human_stream(options))
    return {"highest_requests_per_s": highest}


def _watch(options: argparse.Namespace, bench: Bench, total: int | None) -> Live:
    from medsweep.cli.live import Live

    live = Live(total, human_stream(options))
    bench.on_progress = live.show
    return live
