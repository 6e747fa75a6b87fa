"""`medsweep run`: run a sweep on this machine, or in a Kubernetes cluster."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from medsweep.cli.cluster_options import (
    add_cluster,
    add_max_at_once,
    cluster_of,
    load_settings,
)
from medsweep.cli.options import add_json, add_out, add_sweep, load_sweep
from medsweep.errors import EXIT_DONE, MedSweepError

if TYPE_CHECKING:
    from medsweep.sweep.outcome import Summary


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    add_out(parser)
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=0,
        metavar="PORT",
        help="TCP port of the live Prometheus metrics on 127.0.0.1; default: a free one",
    )
    parser.add_argument(
        "--on", choices=["here", "k8s"], default="here", help="where it runs; default: here"
    )
    cluster = parser.add_argument_group("with --on k8s")
    add_cluster(cluster)
    add_max_at_once(cluster)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run what is not done yet; say where the results are."""
    spec = load_sweep(options)
    from medsweep.sweep.resolve import resolve
    from medsweep.sweep.run import run_sweep

    if options.on == "k8s":
        from medsweep.cluster.kubernetes.whole import run_in_cluster

        settings = load_settings(options)
        summary = run_in_cluster(
            lambda: cluster_of(options),
            resolve(spec, fetches=False),
            settings,
            options.out,
            most=options.max_at_once,
        )
    else:
        summary = run_sweep(resolve(spec), options.out, metrics_port=options.metrics_port)
    return report(summary, as_json=options.json)


def report(summary: Summary, *, as_json: bool) -> int:
    """Say what a run came to; return the exit code."""
    if as_json:
        print(json.dumps({**asdict(summary), "folder": str(summary.folder)}, indent=2))
    else:
        states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
        print(f"measured {summary.measured} cells now; in all: {states}")
        for cell, reason in summary.failures.items():
            print(f"  failed: {cell}: {reason}")
        print(f"report:  {summary.folder / 'report.html'}")
        print(f"figures: {summary.folder / 'benchmark.parquet'}")
    return MedSweepError.exit_code if summary.failures else EXIT_DONE
