"""`medsweep run`: run a sweep on this machine, or in a Kubernetes cluster."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.cli.cluster_options import (
    add_cluster,
    add_max_at_once,
    cluster_of,
    load_settings,
)
from medsweep.cli.options import RESULTS, add_json, add_sweep, load_sweep
from medsweep.errors import EXIT_DONE, InputError, MedSweepError, require

if TYPE_CHECKING:
    from medsweep.sweep.collect import RunSummary
    from medsweep.sweep.resolve import Resolved


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    parser.add_argument(
        "--out",
        default=str(RESULTS),
        metavar="DIR|URL",
        help="a folder, or an object store such as s3://bucket/prefix, whose copy is kept in "
        f"{RESULTS}; default: {RESULTS}",
    )
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
    """Measure the cells without a result; print where the results are."""
    spec = load_sweep(options, environment=os.environ if options.on == "here" else None)
    from medsweep.sweep.resolve import resolve

    if options.on == "k8s":
        from medsweep.k8s.run import run_in_cluster

        if "://" in options.out:
            raise InputError(
                f"--out {options.out}: with --on k8s this must be a local folder, to which the "
                "results are fetched; the cluster's store is `results` in its settings file"
            )
        settings = load_settings(options)
        summary = run_in_cluster(
            lambda: cluster_of(options),
            resolve(spec, here=False),
            settings,
            Path(options.out),
            max_jobs=options.max_at_once,
        )
    else:
        summary = _run_here(resolve(spec), options)
    return report(summary, as_json=options.json)


def _run_here(resolved: Resolved, options: argparse.Namespace) -> RunSummary:
    from medsweep.sweep.plan import needs_ray

    if needs_ray(resolved.spec, [c for c in resolved.plan.all_cells if c.refused is None]):
        require("ray", "torch")
    from medsweep.k8s.layout import cell_folders
    from medsweep.results.object_store import working_folder
    from medsweep.sweep.collect import FILES
    from medsweep.sweep.run import run_sweep

    names = cell_folders(resolved, resolved.plan.runnable)
    with working_folder(
        options.out, resolved.spec.name, names, keep=RESULTS, push_files=FILES
    ) as working:
        return run_sweep(resolved, working.parent, metrics_port=options.metrics_port)


def report(summary: RunSummary, *, as_json: bool) -> int:
    """Print a run's summary; return the exit code."""
    if as_json:
        print(json.dumps({**asdict(summary), "folder": str(summary.folder)}, indent=2))
    else:
        states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items()))
        cells = f"cell{'s' * (summary.measured != 1)}"
        print(f"measured {summary.measured} {cells} now; all cells: {states}")
        for cell, reason in summary.failures.items():
            print(f"  failed: {cell}: {reason}")
        print(f"report:  {summary.folder / 'report.html'}")
        # At once: `demo` runs another sweep, whose progress is on standard error.
        print(f"figures: {summary.folder / 'benchmark.parquet'}", flush=True)
    return MedSweepError.exit_code if summary.failures else EXIT_DONE
