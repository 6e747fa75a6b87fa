"""`medsweep init`: write a sweep file to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from medsweep.errors import EXIT_DONE, InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path("sweep.yaml"),
        metavar="FILE",
        help="default: sweep.yaml",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file; an existing file is never overwritten."""
    from medsweep.sweep.template import sweep_template

    try:
        with options.file.open("x", encoding="utf-8") as file:
            file.write(sweep_template())
    except FileExistsError:
        raise InputError(f"{options.file} exists already; give another name") from None
    except OSError as error:
        raise InputError(f"{options.file} cannot be written: {error.strerror}") from None
    print(f"{options.file}: edit it, then `medsweep plan {options.file}`")
    return EXIT_DONE
