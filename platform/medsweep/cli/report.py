"""`medsweep report`: write the report of a sweep's results again."""

from __future__ import annotations

import argparse
from pathlib import Path

from medsweep.errors import EXIT_DONE


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("folder", type=Path, metavar="RESULTS", help="such as results/demo")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write report.html and figures/ from benchmark.parquet and the cells beside it."""
    from medsweep.report.page import write_report

    print(write_report(options.folder))
    return EXIT_DONE
