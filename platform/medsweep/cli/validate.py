"""`medsweep validate`: check a sweep file."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from medsweep.cli.options import add_json, add_sweep, load_sweep
from medsweep.errors import EXIT_DONE, ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the file; report that it is valid, or list every fault."""
    try:
        spec = load_sweep(options, environment=os.environ)
    except ConfigError as error:
        if not options.json:
            raise
        faults = [asdict(fault) for fault in error.faults]
        print(json.dumps({"valid": False, "faults": faults}, indent=2))
        return error.exit_code
    if options.json:
        print(json.dumps({"valid": True, "faults": []}))
    else:
        print(f"{options.sweep}: valid; sweep {spec.name}")
    return EXIT_DONE
