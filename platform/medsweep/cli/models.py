"""`medsweep models`: list the model catalogue."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DONE
from medsweep.models.catalog import MODELS

HEADINGS = {
    "name": "model",
    "parameters": "parameters",
    "context_length": "context",
    "template": "template",
    "gated": "gated",
    "licence": "licence",
    "hub_id": "hub",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the catalogue."""
    show([asdict(spec) for spec in MODELS.values()], as_json=options.json, headings=HEADINGS)
    return EXIT_DONE
