"""`medsweep plan`: show what would run."""

from __future__ import annotations

import argparse

from medsweep.cli.options import add_json, add_sweep, load_sweep, show
from medsweep.errors import EXIT_DONE

HEADINGS = {
    "cell": "cell",
    "key": "key",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "dtype": "dtype",
    "basis": "basis here",
    "finetuned_on": "fine-tuned on",
    "refused": "refused",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the cells in the order of the run."""
    spec = load_sweep(options)
    from medsweep.hardware.observe import matches, observe_host
    from medsweep.sweep.resolve import resolve

    resolved = resolve(spec)
    host = observe_host()
    plan = resolved.plan
    rows = [
        {
            "cell": cell.name,
            "key": cell.key,
            "cpus": cell.profile.cpus,
            "gpus": cell.profile.gpus,
            "dtype": cell.dtype,
            "basis": "observed" if matches(cell.profile, host) is None else "emulated",
            "finetuned_on": plan.adapters[cell.adapter].profile.name
            if cell.refused is None
            else None,
            "refused": cell.refused,
        }
        for cell in plan.cells
    ]
    show(rows, as_json=options.json, headings=HEADINGS)
    if not options.json:
        visits = len(spec.load.points) * spec.load.repeats + spec.load.compare_base
        print(
            f"\n{len(plan.cells)} cells, {len(plan.cells) - len(plan.runnable)} refused; "
            f"{len(plan.adapters)} fine-tunes on {len(resolved.split.train)} pairs; "
            f"{visits} measurements a cell with {len(resolved.split.evaluation)} questions; "
            f"dataset: {resolved.split.summary}"
        )
    return EXIT_DONE
