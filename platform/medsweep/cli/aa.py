"""`medsweep aa`: measure one cell under two names, which must show no difference."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from medsweep.cli.compare import as_json, print_comparison
from medsweep.cli.options import add_json, add_out, add_sweep, load_sweep, positive
from medsweep.digits import percent
from medsweep.errors import EXIT_DIFFERENT, EXIT_DONE, MedSweepError, require

if TYPE_CHECKING:
    from medsweep.comparison.finding import Finding


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    add_out(parser)
    parser.add_argument(
        "--tolerance",
        type=positive,
        default=0.1,
        metavar="SHARE",
        help="the run passes only if it would find a difference of this share; default: 0.1",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure a cell twice in one sweep; exit 5 if the two differ, or could have unseen."""
    spec = load_sweep(options)
    require("ray", "torch")
    from medsweep.results.reader import Results
    from medsweep.sweep.aa import blind_spots, compare_twins, twin_sweep
    from medsweep.sweep.run import run_sweep

    summary = run_sweep(twin_sweep(spec), options.out)
    if summary.failures:
        reasons = "; ".join(f"{cell}: {reason}" for cell, reason in summary.failures.items())
        raise MedSweepError(f"the A/A run failed: {reasons}")
    comparison = compare_twins(Results.open(summary.folder))
    differ = [each for each in comparison.findings if each.is_clear]
    blind = blind_spots(comparison, options.tolerance)
    if options.json:
        outcome = as_json(comparison, differ, worse=bool(differ))
        outcome["blind"] = [f"{each.subject} {each.figure}" for each in blind]
        print(json.dumps(outcome, indent=2))
    else:
        print_comparison(comparison)
        tested = sum(each.p_adjusted is not None for each in comparison.findings)
        print(
            f"{len(differ)} of {tested} figures differ between two names of one cell (Holm, 5 %); "
            f"results: {summary.folder}"
        )
        for each in blind:
            print(f"not passed: {each.subject} {each.figure}: {_blindness(each)}")
        if blind:
            print(
                f"a difference of {percent(options.tolerance)} could have stayed unseen; raise "
                "load.deployments and load.repeats, or --tolerance"
            )
    return EXIT_DIFFERENT if differ or blind else EXIT_DONE


def _blindness(finding: Finding) -> str:
    """Return why a finding could not have shown a difference of interest."""
    if finding.could_see_share is not None:
        return f"differences under {percent(finding.could_see_share, 1)} would not be found"
    return finding.test if finding.p_adjusted is None else "no spread, so chance is not known"
