"""`medsweep demo`: from nothing to two reports."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.cli.options import add_out, shipped
from medsweep.errors import MedSweepError, require

if TYPE_CHECKING:
    from medsweep.cluster.local import LocalCluster

REAL, STAND_INS = "demo.yaml", "matrix.yaml"
TITLES = {
    REAL: "1 of 2: SmolLM2-135M, a small real model, learns from 64 pairs of questions and answers "
    "on this machine;\nthen the base model and the fine-tuned one answer questions under load",
    STAND_INS: "2 of 2: a smoke test of all 12 cells of the paper (a cell is one model on one kind "
    "of hardware): tiny stand-ins,\nemulated on this machine, so that their figures say nothing "
    "about the models or the hardware",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_out(parser)
    parser.add_argument(
        "--require-real",
        action="store_true",
        help="fail if the real model cannot be measured, instead of continuing with the stand-ins",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sweep of the real model, then that of the stand-ins, whose exit code counts."""
    require("ray", "torch")
    from medsweep.cluster.local import LocalCluster

    with ExitStack() as stack:
        cluster = LocalCluster(kept_by=stack)
        try:
            code, reason = _run(REAL, options.out, cluster), "a cell failed"
        except MedSweepError as error:
            if error.exit_code == 3 or options.require_real:  # interrupted by the user
                raise
            code, reason = error.exit_code, str(error)
        if code:
            if options.require_real:
                return code
            # Without a network there are no real weights; the stand-ins are built on this machine.
            _tell(f"medsweep: the real model was not measured: {reason}\nThe stand-ins follow.")
            stack.close()  # the fault may be the cluster's
        code = _run(STAND_INS, options.out, cluster)
    folder = options.out.resolve() / "demo"
    if (page := folder / "report.html").is_file():
        for sentence in _findings(folder):
            print(f"found: {sentence}")
        print(f"read first: {page} (the real model; the other report is the smoke test's)")
    return code


def _findings(folder: Path) -> list[str]:
    """Return what fine-tuning changed, as the report says it."""
    from medsweep.report.tables.paired import base_against_tuned
    from medsweep.report.takeaways import tuning_effects
    from medsweep.results.reader import Results

    results = Results.open(folder)
    return tuning_effects(base_against_tuned(results.rows, results.question_scores()))


def _run(file: str, out: Path, cluster: LocalCluster) -> int:
    """Run one of the package's sweeps; return the exit code."""
    from medsweep.cli.run import report
    from medsweep.config import load_config
    from medsweep.sweep.resolve import resolve
    from medsweep.sweep.run import run_sweep
    from medsweep.sweep.spec import SweepSpec

    _tell(TITLES[file])
    spec = load_config(SweepSpec, shipped("sweeps") / file, environment=os.environ)
    return report(run_sweep(resolve(spec), out, cluster=cluster), as_json=False)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
