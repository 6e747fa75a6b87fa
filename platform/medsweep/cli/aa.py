"""`medsweep aa`: measure one cell under two names, which must show no difference."""

from __future__ import annotations

import argparse
import json

from medsweep.cli.compare import as_json, print_comparison
from medsweep.cli.options import add_json, add_out, add_sweep, load_sweep
from medsweep.errors import EXIT_DIFFERENT, EXIT_DONE, MedSweepError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    add_out(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure a cell twice in one sweep; exit 5 if the two differ beyond noise."""
    spec = load_sweep(options)
    from medsweep.results.reader import Results
    from medsweep.sweep.aa import compare_twins, twin_sweep
    from medsweep.sweep.run import run_sweep

    summary = run_sweep(twin_sweep(spec), options.out)
    if summary.failures:
        reasons = "; ".join(f"{cell}: {reason}" for cell, reason in summary.failures.items())
        raise MedSweepError(f"the A/A run failed: {reasons}")
    comparison = compare_twins(Results.open(summary.folder))
    differ = [each for each in comparison.findings if each.is_clear]
    if options.json:
        print(json.dumps(as_json(comparison, differ, worse=bool(differ)), indent=2))
    else:
        print_comparison(comparison)
        tested = sum(each.p_adjusted is not None for each in comparison.findings)
        print(
            f"{len(differ)} of {tested} figures differ between two names of one cell (Holm, 5 %); "
            f"results: {summary.folder}"
        )
    return EXIT_DIFFERENT if differ else EXIT_DONE
