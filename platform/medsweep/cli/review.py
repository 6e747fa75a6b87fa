"""`medsweep review`: have clinicians rate answers, and merge their ratings."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medsweep.cli.options import add_json, seed, show, with_interval
from medsweep.errors import EXIT_DONE, InputError

QUESTIONS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    export = actions.add_parser("export", help="write a page on which raters rate blinded answers")
    export.add_argument("results", type=Path, metavar="RESULTS", help="folder of a sweep")
    export.add_argument(
        "--out",
        type=Path,
        default=Path("review.html"),
        metavar="FILE",
        help="the page; default: review.html. It holds questions and answers: give it only to "
        "alone. The key to it stays in RESULTS",
    )
    export.add_argument(
        "--questions",
        type=int,
        default=QUESTIONS,
        metavar="N",
        help=f"most questions, drawn by seed; default: {QUESTIONS}",
    )
    export.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of the draw and the order"
    )
    export.set_defaults(run=_export)
    merge = actions.add_parser("import", help="merge the raters' files and rewrite the report")
    merge.add_argument("results", type=Path, metavar="RESULTS", help="folder of the sweep")
    merge.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="what raters saved, one file each"
    )
    merge.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of the bootstrap")
    add_json(merge)
    merge.set_defaults(run=_import)


def _export(options: argparse.Namespace) -> int:
    from medsweep.review.sheet import KEY, export

    if options.questions < 1:
        raise InputError(f"--questions {options.questions}: must be at least 1")
    questions, answers = export(
        options.results, options.out, questions=options.questions, seed=options.seed
    )
    print(
        f"{options.out}: {answers} answers to {questions} questions, without their origin; the key "
        f"is {options.results / KEY}, which raters must not have"
    )
    return EXIT_DONE


def _import(options: argparse.Namespace) -> int:
    from medsweep.review.judges import update_judges
    from medsweep.review.ratings import merge
    from medsweep.sweep.collect import refresh

    summary = merge(options.results, options.files, seed=options.seed)
    # How far each judge agrees with the raters is another now.
    update_judges(options.results, seed=options.seed)
    refresh(options.results)
    if options.json:
        print(json.dumps(summary, indent=2))
        return EXIT_DONE
    print(f"{summary['answers']} answers by {summary['raters']} raters; share of best ratings:\n")
    axes = list(summary["agreement"])
    rows: list[dict[str, Any]] = [
        {"system": system} | {axis: with_interval(rated.get(axis, {}), "best") for axis in axes}
        for system, rated in summary["systems"].items()
    ]
    rows.append(
        {"system": "Krippendorff's alpha"}
        | {axis: with_interval(each, "alpha") for axis, each in summary["agreement"].items()}
    )
    show(rows, as_json=False)
    if summary["ranking"]:
        print("\nranking (Bradley-Terry, probability of being preferred to an average system):\n")
        show(
            [
                {
                    "system": rank["system"],
                    "preferred": with_interval(rank, "win_share"),
                    "comparisons": rank["comparisons"],
                }
                for rank in summary["ranking"]
            ],
            as_json=False,
        )
    return EXIT_DONE
