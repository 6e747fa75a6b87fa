"""`medsweep safety`: ask a model the safety set, and the same questions in other words."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.asking import Answerer, add_answerer, answerer
from medsweep.cli.judging import add_judge, judge_of, print_votes, refuse_unused
from medsweep.cli.options import Progress, add_json, seed, show, with_interval
from medsweep.cli.partial_answers import Asker, PartialAnswers
from medsweep.errors import EXIT_DONE, InputError, MedSweepError, StageError

if TYPE_CHECKING:
    from medsweep.datasets.safety import SafetyPrompt
    from medsweep.review.judge import Judge

SAFETY, ANSWERS = "safety.json", "safety.jsonl"
JUDGE = "judge-"
"""Prefix of the flags of the judge."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_answerer(parser)
    parser.add_argument(
        "--name", metavar="NAME", help="what the results call the model; default: its own name"
    )
    parser.add_argument(
        "--rewordings",
        type=int,
        default=0,
        metavar="N",
        help="also ask N questions in other words, and count the answers that change; default: 0",
    )
    parser.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="questions for --rewordings, one per line (text, or JSON with `question`); default: "
        "those of the corpus that ships",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=1,
        metavar="N",
        help="requests at a time, to the server of --url and to the judge; default: 1",
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="seed of typing errors and of the judge; default: 0",
    )
    parser.add_argument(
        "--judge",
        metavar="URL",
        help="have a model behind OpenAI's API judge each answer to the set too, by the prompt's "
        "own criterion; prompts and answers are sent there; default: no judge",
    )
    add_judge(parser, JUDGE)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/safety"),
        metavar="DIR",
        help=f"writes {SAFETY} and {ANSWERS} there, beside other models', and the report again if "
        "there is one; default: results/safety",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask every prompt, and write what the answers do; exit 1 if answers or votes are missing."""
    from medsweep.datasets.safety import safety_prompts
    from medsweep.metrics.behaviour import safety_shares
    from medsweep.metrics.rewording import UNCHANGED, effects, rewordings

    questions = _questions(options)
    judge = _judge(options)
    prompts = safety_prompts()
    reworded = [rewordings(question, options.seed) for question in questions]
    asked = [prompt.prompt for prompt in prompts]
    for wordings in reworded:
        asked += [wordings[UNCHANGED], *wordings.values()]
    with answerer(options) as model:
        name = options.name or model.name
        partial = PartialAnswers(options.out, _identity(options, name, model))
        if count := len(partial.answers):
            print(
                f"continues with {count} answer{'s' if count != 1 else ''} of an earlier run "
                f"({partial.path}; delete it to start anew)",
                file=sys.stderr,
            )
        concurrency = 1 if options.url is None else options.concurrency
        asker = Asker(model.ask, len(asked), concurrency, partial)
        given = iter(asker.answers(asked))
    rows = [_row(name, prompt, *next(given)) for prompt in prompts]
    pairs: dict[str, list[tuple[str, str]]] = {}
    for wordings in reworded:
        first, _ = next(given)
        for how in wordings:
            other, _ = next(given)
            if first is not None and other is not None:
                pairs.setdefault(how, []).append((first, other))
    answered = [row for row in rows if row["reason"] is None]
    found: dict[str, Any] = {
        "failed": asker.failed,
        "shares": [
            asdict(each) for each in safety_shares([(r["kind"], r["right"]) for r in answered])
        ],
        "rewordings": [asdict(each) for each in effects(pairs)],
        "judge": None,
    }
    try:
        if judge is not None and answered:
            found["judge"] = _judged(judge, answered, options)
    finally:
        # The rules' verdicts do not depend on the judge, which may have failed.
        _write(options.out, name, rows, found)
    judged = found["judge"] or {"failed": 0, "unanswered": 0}
    # With the answers, the next run can ask the judge again without asking the model.
    if not asker.failed and not judged["unanswered"]:
        partial.path.unlink(missing_ok=True)
    if options.json:
        print(json.dumps({"model": name, **found}, indent=2))
    else:
        _print(name, found)
        print(f"\n{options.out / ANSWERS}: every answer, with what it does")
    return MedSweepError.exit_code if asker.failed or judged["failed"] else EXIT_DONE


def _judge(options: argparse.Namespace) -> Judge | None:
    """Return the judge whose server the options name; None if they name none."""
    if options.judge is None:
        refuse_unused(options, "--judge URL", JUDGE)
        return None
    from medsweep.review.safety import RUBRIC

    return judge_of(options, options.judge, RUBRIC, seed=options.seed, prefix=JUDGE)


def _judged(
    judge: Judge, rows: Sequence[dict[str, Any]], options: argparse.Namespace
) -> dict[str, Any]:
    """Have a judge vote on answers, note its verdicts in their rows, and return its summary."""
    from medsweep.review.safety import judge_safety

    progress = Progress(len(rows) * judge.votes, "votes")
    try:
        verdicts, summary = judge_safety(
            judge,
            rows,
            options.out,
            concurrency=options.concurrency,
            usd_per_million=options.judge_usd_per_million,
            tell=progress.step,
        )
    finally:
        progress.clear()
    for row in rows:
        row["judged"] = verdicts[row["id"]]
    return summary


def _questions(options: argparse.Namespace) -> list[str]:
    """Return the questions that are asked in other words, drawn by seed."""
    from medsweep.datasets.load import load_sources
    from medsweep.datasets.spec import DatasetSpec
    from medsweep.loadgen.questions import read_prompts

    if options.concurrency < 1:
        raise InputError(f"--concurrency {options.concurrency}: must be at least 1")
    if options.concurrency > 1 and options.url is None and options.judge is None:
        raise InputError("--concurrency is for a server: give --url URL or --judge URL with it")
    if options.rewordings < 0:
        raise InputError(f"--rewordings {options.rewordings}: must be at least 0")
    if options.questions is not None and not options.rewordings:
        raise InputError("--questions is for --rewordings N: give both")
    if not options.rewordings:
        return []
    if options.questions is not None:
        known = [prompt.text for prompt in read_prompts(options.questions)]
    else:
        known = [pair.question for pair in load_sources(DatasetSpec())[0].pairs]
    rng = random.Random(options.seed)  # noqa: S311 no secret
    return rng.sample(known, min(options.rewordings, len(known)))


def _identity(options: argparse.Namespace, name: str, model: Answerer) -> str:
    """Return the hash of what an answer depends on, beside the question; a server may move."""
    from medsweep.finetune.adapter import WEIGHTS_FILE, base_sha256

    adapter = None
    if options.adapter is not None:
        with (options.adapter / WEIGHTS_FILE).open("rb") as weights:
            adapter = hashlib.file_digest(weights, "sha256").hexdigest()
    asked = [
        name,
        model.name,
        adapter,
        None if model.base is None else base_sha256(model.base),
        None if options.url is None else _served(options, model.name),
        options.base,
        options.instruction,
        options.max_tokens,
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _served(options: argparse.Namespace, model: str) -> dict[str, Any] | None:
    """Return what a server says of itself and of a model; None if it does not answer that."""
    from medsweep.loadgen.client import identity_headers
    from medsweep.loadgen.foreign import ForeignServer

    with suppress(StageError):
        headers = identity_headers(options.url, options.api_key_env, ())
        return ForeignServer(options.url, headers).described(model)
    return None


def _row(name: str, prompt: SafetyPrompt, answer: str | None, reason: str | None) -> dict[str, Any]:
    from medsweep.metrics.behaviour import behaviours

    shown = None if answer is None else behaviours(answer)
    return {
        "model": name,
        **asdict(prompt),
        "answer": answer,
        "behaviours": shown,
        "right": None if shown is None else bool(set(shown) & set(prompt.expect)),
        "reason": reason,
        "judged": None,
    }


def _write(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], found: Any) -> None:
    """Write the answers and what they do, in place of earlier ones of the same model."""
    from medsweep.json_lines import numbered_lines, parse
    from medsweep.report.page import write_report
    from medsweep.results.files import BENCHMARK_FILE
    from medsweep.results.store import read_json, updating, write_json, write_text

    path, kept = folder / ANSWERS, []
    with updating(folder / SAFETY):
        before = (read_json(folder / SAFETY) or {}).get("models", {})
        write_json(folder / SAFETY, {"models": {**before, name: found}})
        if path.is_file():
            with path.open("rb") as file:
                kept = [
                    row for _, line in numbered_lines(file) if (row := parse(line))["model"] != name
                ]
        lines = (json.dumps(row, ensure_ascii=False) for row in (*kept, *rows))
        write_text(path, "".join(f"{line}\n" for line in lines))
    if (folder / BENCHMARK_FILE).is_file():
        write_report(folder)


def _print(name: str, found: Mapping[str, Any]) -> None:
    print(f"{name}:\n")
    show(
        [
            {
                "prompts": each["kind"],
                "answers": each["answers"],
                "fault": each["fault"],
                "share": with_interval(each, "share"),
            }
            for each in found["shares"]
        ],
        as_json=False,
    )
    if found["judge"] is not None:
        _print_judge(found["judge"])
    if found["failed"]:
        print(f"{found['failed']} questions were not answered")
    if found["rewordings"]:
        print("\nanswers to the same question in other words, compared with the first one:\n")
        show(
            [
                {
                    "rewording": each["rewording"],
                    "questions": each["questions"],
                    "other quantities": with_interval(each["quantities"], "share"),
                    "contradict": with_interval(each["contradicting"], "share"),
                }
                for each in found["rewordings"]
            ],
            as_json=False,
        )


def _print_judge(summary: Mapping[str, Any]) -> None:
    agreements = {each["kind"]: each for each in summary["agreement"]}
    print(f"\nby the judge {summary['judge']['model']}, beside the rules above:\n")
    show(
        [
            {
                "prompts": each["kind"],
                "answers": each["answers"],
                "fault": each["fault"],
                "share": with_interval(each, "share"),
                "agrees with the rules": with_interval(agreements[each["kind"]], "share"),
            }
            for each in summary["shares"]
        ],
        as_json=False,
    )
    alpha = with_interval(summary["alpha"], "alpha") or "not known"
    print(
        f"alpha between rules and judge {alpha}; an opinion: the judge's agreement with people "
        "was not measured"
    )
    print_votes(summary)
