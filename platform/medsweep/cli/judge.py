"""`medsweep judge`: have a model rate answers by a rubric."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from medsweep.cli.judging import add_judge, judge_of, print_votes
from medsweep.cli.options import Progress, add_json, seed, show, with_interval
from medsweep.cli.review import QUESTIONS
from medsweep.errors import EXIT_DONE, InputError, MedSweepError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder of a sweep")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--url",
        metavar="URL",
        help="judge's server with OpenAI's API, such as http://127.0.0.1:8000/v1; for public "
        "datasets",
    )
    target.add_argument(
        "--send-to",
        metavar="URL",
        help="the same, and allow questions, references and answers that are not known to be "
        "public to be sent there",
    )
    add_judge(parser)
    parser.add_argument(
        "--rubric",
        type=Path,
        metavar="FILE",
        help="YAML file with the axes; default: the axes of `medsweep review`",
    )
    parser.add_argument(
        "--questions",
        type=int,
        default=QUESTIONS,
        metavar="N",
        help=f"most questions, drawn by seed as `review export` draws them; default: {QUESTIONS}",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="compare the answers to each question in pairs too, each pair in both orders",
    )
    parser.add_argument(
        "--concurrency", type=int, default=1, metavar="N", help="requests at a time; default: 1"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of the draw and the orders"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Have the judge vote, and rewrite the report; exit 1 if votes failed."""
    from medsweep.config import load_config
    from medsweep.datasets.spec import known_public
    from medsweep.results.reader import Results
    from medsweep.results.store import private
    from medsweep.review.judge import ballots
    from medsweep.review.judged import judged
    from medsweep.review.judges import update_judges
    from medsweep.review.rubric import Rubric, shipped_rubric
    from medsweep.review.sheet import draw
    from medsweep.review.votes import vote_on
    from medsweep.sweep.collect import refresh

    _check(options)
    results = Results.open(options.results)
    public = known_public(results.spec)
    if options.url is not None and not public:
        raise InputError(
            f"{options.results}: its texts are not known to be public, so none is sent to a judge; "
            "name the server that may have them with --send-to URL, or mark the dataset "
            "`public: true` if it holds no patient data"
        )
    url = options.url or options.send_to
    rubric = load_config(Rubric, options.rubric) if options.rubric else shipped_rubric()
    sheet = draw(results, questions=options.questions, seed=options.seed)
    judge = judge_of(options, url, rubric, seed=options.seed)
    drawn = ballots(judge, sheet, compare=options.compare)
    with private(options.results, applies=not public):
        progress = Progress(len(drawn), "votes")
        try:
            votes = vote_on(
                judge, drawn, options.results, concurrency=options.concurrency, tell=progress.step
            )
        finally:
            progress.clear()
        summary = judged(
            judge, sheet, votes, seed=options.seed, usd_per_million=options.usd_per_million
        )
        record = update_judges(options.results, seed=options.seed, new={judge.name: summary})
        refresh(options.results)
    summary = record["judges"][judge.name]
    if options.json:
        shared = {name: record[name] for name in ("between_judges", "counted")}
        print(json.dumps({"name": judge.name, **summary, **shared}, indent=2))
    else:
        _print(judge.name, record)
    return MedSweepError.exit_code if summary["failed"] else EXIT_DONE


def _check(options: argparse.Namespace) -> None:
    if not options.results.is_dir():
        raise InputError(f"{options.results}: no such folder; give the folder of a sweep")
    for name in ("questions", "concurrency"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)}: must be at least 1")


def _print(name: str, record: dict[str, Any]) -> None:
    summary = record["judges"][name]
    judge = summary["judge"]
    print(
        f"{judge['model']} rated {summary['answers']} answers to {summary['questions']} questions "
        f"by the rubric {judge['rubric']}: {summary['standing']}\n"
    )
    axes = summary["axes"]
    rows: list[dict[str, Any]] = [
        {"system": system, "passes": with_interval(summary["passes"].get(system, {}), "share")}
        | {axis: with_interval(rated.get(axis, {}), "best") for axis in axes}
        for system, rated in summary["systems"].items()
    ]
    between = [each for each in record["between_judges"] if name in each["judges"]]
    for label, figures in (
        ("alpha with raters", summary["agreement"]),
        ("alpha between votes", summary["between_votes"] or {}),
        *((f"alpha between {', '.join(each['judges'])}", each["agreement"]) for each in between),
    ):
        rows.append(
            {"system": label, "passes": None}
            | {axis: with_interval(figures.get(axis, {}), "alpha") for axis in axes}
        )
    show(rows, as_json=False)
    if (comparison := summary["comparison"]) is not None:
        _print_comparison(comparison)
    print_votes(summary)
    print(f"verified answers: {_counts(record['counted'])}")


def _counts(judge: str | None) -> str:
    if judge is None:
        return "no judge counts, because none is shown to agree with raters"
    return f"the judge {judge} counts, on answers that nobody rated"


def _print_comparison(comparison: dict[str, Any]) -> None:
    first, same = (
        with_interval(comparison[name] or {}, "share") or "not known"
        for name in ("first_preferred", "same_in_both_orders")
    )
    print(
        f"\n{comparison['pairs']} pairs in both orders: the same choice in {same} of them; the "
        f"answer shown first was chosen in {first} of all choices (0.50 without bias)"
    )
    if comparison["ranking"]:
        show(
            [
                {"system": rank["system"], "preferred": with_interval(rank, "win_share")}
                for rank in comparison["ranking"]
            ],
            as_json=False,
        )
