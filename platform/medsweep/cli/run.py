"""`medsweep run`: run a sweep on this machine."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from medsweep.cli.options import add_json, add_sweep, load_sweep
from medsweep.errors import EXIT_DONE, MedSweepError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("results"), metavar="DIR", help="default: results"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=0,
        metavar="PORT",
        help="TCP port of the live Prometheus metrics on 127.0.0.1; default: a free one",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run what is not done yet; say where the results are."""
    spec = load_sweep(options)
    from medsweep.sweep.resolve import resolve
    from medsweep.sweep.run import run_sweep

    summary = run_sweep(resolve(spec), options.out, metrics_port=options.metrics_port)
    if options.json:
        print(json.dumps({**asdict(summary), "folder": str(summary.folder)}, indent=2))
    else:
        states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
        print(f"measured {summary.measured} cells now; in all: {states}")
        for cell, reason in summary.failures.items():
            print(f"  failed: {cell}: {reason}")
        print(f"report:  {summary.folder / 'report.html'}")
        print(f"figures: {summary.folder / 'benchmark.parquet'}")
    return MedSweepError.exit_code if summary.failures else EXIT_DONE
