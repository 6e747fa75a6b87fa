"""`medsweep calibrate`: measure the load generator's own error on this machine."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING

from medsweep.cli.options import add_json
from medsweep.errors import EXIT_DONE, InputError

if TYPE_CHECKING:
    from medsweep.loadgen.calibration import Calibration

# Measured requests per concurrent request: 6 s of load.
_REQUESTS_PER_WORKER = 15


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--concurrency", default="1,8,64", metavar="N,N", help="default: 1,8,64")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure a server with known timing, and print the client's error."""
    from medsweep.loadgen.calibrate import calibrate_fleet, highest_honest_rate
    from medsweep.loadgen.calibration import CalibrationLoad
    from medsweep.loadgen.fleet import Fleet, cores, processes_for
    from medsweep.loadgen.spec import LoadPoint

    try:
        concurrencies = [int(text) for text in options.concurrency.split(",")]
    except ValueError:
        raise InputError(
            f"--concurrency {options.concurrency}: whole numbers, separated by commas"
        ) from None
    points = [LoadPoint(concurrency=concurrency) for concurrency in concurrencies]
    loads = [CalibrationLoad(concurrency) for concurrency in concurrencies]
    with Fleet(processes_for(points)) as fleet:
        found = calibrate_fleet(fleet, loads, requests_per_worker=_REQUESTS_PER_WORKER)
        rate, is_limit = highest_honest_rate(fleet, found)
    if options.json:
        result = {
            "cores": cores(),
            "processor": platform.processor() or platform.machine(),
            "points": [{**asdict(each), "client_limited": each.client_limited} for each in found],
            "highest_honest_requests_per_s": rate,
            "limit_found": is_limit,
        }
        print(json.dumps(result, indent=2))
    else:
        _show(found)
        print(
            f"\nhighest honest rate: {'' if is_limit else 'at least '}{rate:.0f} requests/s of 32 "
            f"tokens, on {cores():g} cores that the server shares"
        )
    return EXIT_DONE


def _show(points: list[Calibration]) -> None:
    print("a server with 50 ms to the first of 32 tokens and 10 ms between them, on this machine")
    print("client error of TTFT, of ITL (means and 99th percentiles), and the server's lateness")
    print("concurrency       TTFT        p99        ITL        p99     server  of ideal requests/s")
    for each in points:
        share = each.requests_per_s / each.ideal_requests_per_s
        ttft, itl = each.errors["ttft"], each.errors["itl"]
        times = (ttft.mean, ttft.p99, itl.mean, itl.p99, each.server_late_s)
        limited = {True: "  client limited", None: "  server limited", False: ""}
        print(
            f"{each.concurrency:>11}  "
            + "  ".join(f"{seconds * 1e3:6.2f} ms" for seconds in times)
            + f"  {share:>19.1%}{limited[each.client_limited]}"
        )
