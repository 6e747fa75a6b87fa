"""`medsweep demo`: from nothing to two reports."""

from __future__ import annotations

import argparse
import sys

from medsweep.cli.options import add_out, shipped
from medsweep.errors import MedSweepError, require

REAL, STAND_INS = "demo.yaml", "matrix.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_out(parser)
    parser.add_argument(
        "--require-real",
        action="store_true",
        help="fail if the real model cannot be measured, instead of going on with the stand-ins",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sweep of the real model, then that of the stand-ins, whose exit code counts."""
    require("ray", "torch")
    from medsweep.cli import parser_for

    def run_sweep(file: str) -> int:
        words = ["run", str(shipped("sweeps") / file), "--out", str(options.out)]
        parsed = parser_for("run").parse_args(words)
        code: int = parsed.run(parsed)
        return code

    try:
        code, reason = run_sweep(REAL), "a cell failed"
    except MedSweepError as error:
        if error.exit_code == 3 or options.require_real:  # interrupted by the user
            raise
        code, reason = error.exit_code, str(error)
    if code:
        if options.require_real:
            return code
        # Without a network there are no real weights; the stand-ins are built on this machine.
        print(
            f"medsweep: the real model was not measured: {reason}\nThe stand-ins follow.",
            file=sys.stderr,
            flush=True,
        )
    return run_sweep(STAND_INS)
