"""`medsweep report`: write the report of results again."""

from __future__ import annotations

import argparse
from pathlib import Path

from medsweep.errors import EXIT_DONE, InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "folder",
        metavar="RESULTS",
        help="folder of a sweep, such as results/demo, or of `medsweep bench --out`",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write report.html, figures/ and tables/ into the folder of the results."""
    from medsweep.report.page import write_report

    if "://" in options.folder:
        raise InputError(
            f"{options.folder}: a report is written into a local folder; copy the results here "
            "first"
        )
    print(write_report(Path(options.folder)))
    return EXIT_DONE
