"""`medsweep datasets`: list the datasets, or read one and count what is dropped."""

from __future__ import annotations

import argparse
import json

from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DONE

DATASETS = (
    {
        "dataset": "embedded",
        "public": True,
        "what": "question-answer pairs written for MedSweep; not medical advice",
    },
    {
        "dataset": "medquad",
        "public": True,
        "what": "MedQuAD (CC BY 4.0), from dataset.path or from the hub (lavita/MedQuAD)",
    },
    {
        "dataset": "local",
        "public": False,
        "what": "a .jsonl, .jsonl.gz, .csv or .parquet file given by dataset.path",
    },
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--name", choices=[str(entry["dataset"]) for entry in DATASETS])
    parser.add_argument("--path", help="the file of `local` or `medquad`")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table, or what reading one dataset gives."""
    if options.name is None:
        show(DATASETS, as_json=options.json)
        return EXIT_DONE
    from medsweep.datasets.load import load_pairs
    from medsweep.datasets.spec import DatasetSpec
    from medsweep.errors import InputError

    try:
        spec = DatasetSpec(name=options.name, path=options.path)
    except ValueError as error:
        raise InputError(f"datasets: {error}") from None
    loaded = load_pairs(spec)
    if options.json:
        print(
            json.dumps(
                {"pairs": len(loaded.pairs), "rows": loaded.rows, "dropped": dict(loaded.dropped)}
            )
        )
    else:
        print(loaded.summary())
    return EXIT_DONE
