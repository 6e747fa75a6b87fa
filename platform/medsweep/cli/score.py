"""`medsweep score`: grade predictions from any source."""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, seed, show
from medsweep.errors import EXIT_DONE, InputError, MedSweepError, did_you_mean

if TYPE_CHECKING:
    from medsweep.metrics.bounds import Cut
    from medsweep.metrics.concepts import Lexicon
    from medsweep.metrics.scored_lines import BadLine, Graded

SHOWN_BAD_LINES = 10
SHOWN_ANSWERS = 10
LABELS = ("question_type", "source")
"""Fields by which quality is broken down unasked, where the lines have them."""

METERED = 100
"""References that the meter takes; as many as `metrics.meter.MOST`."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.jsonl",
        help="a line for each answer, with `prediction` and `reference`, and where known `id` "
        "(answers with one id are one question) and `finish_reason`; or for multiple choice with "
        "`prediction`, `options` and `answer`; may be gzipped (.gz)",
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="DIR",
        help="have an adapter choose by log-likelihood if a line has `question`, `options` and "
        "`answer` but no `prediction`",
    )
    parser.add_argument(
        "--base", action="store_true", help="have its base model choose, without the adapter"
    )
    parser.add_argument(
        "--bertscore",
        type=Path,
        metavar="DIR",
        help="add BERTScore, with the encoder in this folder (extra `bertscore`)",
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="longest answer that was allowed: adds the ceiling of each figure; needs --tokenizer",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="folder with the tokenizer.json that counts these tokens",
    )
    parser.add_argument(
        "--meter",
        action="store_true",
        help="show which deliberate errors in the references each figure sees",
    )
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="terms of the concepts: a CSV file with the columns concept and term, or UMLS' "
        "MRCONSO.RRF; default: the names of ICD-10-CM",
    )
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="FIELD",
        help="show quality by this field of the lines too, beside `question_type`, `source` and "
        "the length of the reference; may be given several times",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FILE.jsonl",
        help="earlier answers to the same questions by `id`, such as the base model's: shows in "
        "how many token F1 rose and fell, and which got worst",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of the bootstrap")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every figure of quality; exit 1 if there were lines that could not be graded."""
    from medsweep.metrics.lexicon import lexicon
    from medsweep.metrics.scored_lines import grade_lines

    choose = None
    if options.adapter is not None:
        from medsweep.finetune.multiple_choice import Chooser

        choose = Chooser(options.adapter, base_only=options.base).choose
    elif options.base:
        raise InputError("--base names no model: give --adapter DIR with it")
    bert = None
    if options.bertscore is not None:
        from medsweep.metrics.bertscore import BertScore
        from medsweep.models.loading import check_model_folder

        check_model_folder(options.bertscore)
        bert = BertScore(options.bertscore)
    cut = _cut(options)
    asked: dict[str, str] = {}

    def also(answer: str, reference: str, question: str) -> None:
        if bert is not None:
            bert.add(answer, reference)
        if options.meter and len(asked) < METERED:
            asked.setdefault(reference, question)

    terms = lexicon(options.lexicon)
    by = [*LABELS, *options.by]
    graded = _lines(
        options.file,
        lambda lines: grade_lines(lines, choose, also=also, cut=cut, by=by, lexicon=terms),
    )
    _report_bad_lines(options.file, graded.bad)
    if graded.texts.rouge_warning is not None:
        print(f"medsweep: {graded.texts.rouge_warning}", file=sys.stderr)
    if not len(graded.texts) and not graded.choices.answers:
        raise InputError(
            f"{options.file}: no line with `prediction` and `reference`, nor with `options`"
        )
    for name in options.by:
        if name not in graded.columns:
            nearest = did_you_mean(name, graded.columns)
            raise InputError(
                f"{options.file}: --by {name}: no line has this field{nearest}; the fields are "
                f"{', '.join(graded.columns)}"
            )
    scores = _report(graded, options.seed)
    if options.before is not None:
        earlier = _lines(options.before, lambda lines: grade_lines(lines, lexicon=terms))
        _report_bad_lines(options.before, earlier.bad)
        scores["since_before"] = _since(options, earlier, graded)
    if bert is not None and (score := bert.f1(options.seed)) is not None:
        scores["figures"]["bertscore_f1"] = {**asdict(score), "max": bert.greatest}
    scores["meter"] = _meter(asked, options.seed, terms) if options.meter else None
    if options.json:
        print(json.dumps(scores, indent=2))
    else:
        _print(scores)
    return MedSweepError.exit_code if graded.bad else EXIT_DONE


def _lines(file: Path, read: Callable[[Iterable[bytes]], Graded]) -> Graded:
    opener: Any = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rb") as lines:
            return read(lines)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None


def _since(options: argparse.Namespace, before: Graded, after: Graded) -> dict[str, Any]:
    """Return in how many questions token F1 rose and fell, and which got worst."""
    from medsweep.metrics.breakdown import worsened

    change = worsened(before.texts.question_means(), after.texts.question_means())
    if not change.questions:
        raise InputError(
            f"{options.before}: no `id` of it is in {options.file}: both need `id` in their lines"
        )
    return asdict(change)


def _cut(options: argparse.Namespace) -> Cut | None:
    if (options.max_tokens is None) != (options.tokenizer is None):
        raise InputError("--max-tokens and --tokenizer belong together: give both or neither")
    if options.max_tokens is None:
        return None
    if options.max_tokens < 1:
        raise InputError(f"--max-tokens {options.max_tokens}: must be at least 1")
    from medsweep.models.loading import answer_cut

    cut = answer_cut(options.tokenizer, options.max_tokens)
    if cut is None:
        raise InputError(f"{options.tokenizer}: no tokenizer.json there")
    return cut


def _meter(asked: dict[str, str], seed: int, terms: Lexicon) -> list[dict[str, Any]]:
    """Return what each figure sees, given the questions by their references."""
    from medsweep.metrics.meter import measure_detection, our_figures

    detections = measure_detection(
        list(asked), list(asked.values()), seed=seed, grade=partial(our_figures, lexicon=terms)
    )
    return [asdict(each) for each in detections]


def _report(graded: Graded, seed: int) -> dict[str, Any]:
    from medsweep.metrics.tally import VERIFIED_BY

    texts, choices = graded.texts, graded.choices
    verified = texts.verified(seed)
    accuracy, low, high = choices.accuracy() or (None, None, None)
    return {
        "answers": len(texts),
        "rouge_warning": texts.rouge_warning,
        "questions": texts.questions,
        "bad_lines": [asdict(line) for line in graded.bad],
        "figures": {name: asdict(each) for name, each in texts.figures(seed).items()},
        "corpus_bleu": texts.corpus_bleu,
        **texts.agreement.columns,
        "answers_with_quantities": texts.with_quantities,
        "answers_with_concepts": texts.with_concepts,
        "verified": verified and {**asdict(verified), "by": VERIFIED_BY},
        "half_f1_share": texts.half_f1_share,
        "bounds": texts.bounds.means(),
        "long_references_share": texts.bounds.too_long_share,
        "truncated_share": texts.truncated_share,
        "length_ratio": texts.length_ratio,
        "empty_answers": texts.empty,
        "refusals": texts.refusals,
        "truncated_answers": texts.truncated,
        "finish_reasons": dict(texts.finish_reasons),
        "by_reference_words": [asdict(stratum) for stratum in texts.strata()],
        "breakdown": [asdict(each) for each in texts.breakdown(seed)],
        "worst_lines": [graded.numbers[place] for place in texts.worst()[:SHOWN_ANSWERS]],
        "since_before": None,
        "choices": {
            "answers": choices.answers,
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "unreadable": choices.unreadable,
        },
    }


def _print(scores: dict[str, Any]) -> None:
    if scores["answers"]:
        _print_texts(scores)
    choices = scores["choices"]
    if choices["answers"]:
        print(
            f"{choices['answers']} multiple-choice answers: accuracy "
            f"{_number(choices['accuracy'])} ({_number(choices['low'])} to "
            f"{_number(choices['high'])}), {choices['unreadable']} name no option"
        )
    print(f"{len(scores['bad_lines'])} bad lines")


def _print_meter(detections: Sequence[dict[str, Any]]) -> None:
    """Print a row for each kind of error and a column for each figure."""
    kinds = {each["kind"]: each["tried"] for each in detections}
    rows = [
        {"seen of": kind, "tried": tried}
        | {
            each["figure"]: None if each["share"] is None else f"{each['share']:.0%}"
            for each in detections
            if each["kind"] == kind
        }
        for kind, tried in kinds.items()
    ]
    show(rows, as_json=False)
    print()


def _print_texts(scores: dict[str, Any]) -> None:
    bounds = {bound: means for bound, means in scores["bounds"].items() if means}
    rows = [
        {"figure": name, **{key: _number(value) for key, value in figure.items()}}
        | {bound: _number(means.get(name)) for bound, means in bounds.items()}
        for name, figure in scores["figures"].items()
    ]
    rows.append(
        {"figure": "corpus_bleu", "mean": _number(scores["corpus_bleu"])}
        | dict.fromkeys(("low", "high", "max", *bounds))
    )
    show(rows, as_json=False)
    print()
    strata = [
        {
            "reference words": f"{each['words_from']}-{each['words_below'] - 1}"
            if each["words_below"]
            else f"{each['words_from']}+",
            "answers": each["answers"],
            **{name: _number(each["means"].get(name)) for name in scores["figures"]},
            "length ratio": _number(each["length_ratio"]),
        }
        for each in scores["by_reference_words"]
    ]
    show(strata, as_json=False)
    print()
    _print_breakdown(scores)
    if scores["meter"]:
        _print_meter(scores["meter"])
    if scores["answers_with_quantities"]:
        print(
            f"{scores['answers_with_quantities']} references state quantities: "
            f"{scores['quantities_agree']} agree, {scores['quantities_contradict']} contradict, "
            f"{scores['quantities_missing']} are missing, {scores['quantities_added']} are added; "
            f"{scores['statements_denied']} statements denied"
        )
    if (verified := scores["verified"]) is not None:
        print(
            f"verified answers, of those with quantities: {_number(verified['mean'])} "
            f"({_number(verified['low'])} to {_number(verified['high'])}); by {verified['by']}"
        )
    print(f"{scores['answers_with_concepts']} references have concepts of the lexicon")
    truncated = scores["truncated_answers"]
    print(
        f"{scores['answers']} answers to {scores['questions']} questions: "
        f"{scores['empty_answers']} empty, {scores['refusals']} refusals, "
        f"{'unknown how many' if truncated is None else truncated} truncated; "
        f"length ratio {_number(scores['length_ratio']) or 'unknown'}"
    )
    if scores["long_references_share"] is not None:
        print(f"{scores['long_references_share']:.0%} of the references are longer than allowed")


def _print_breakdown(scores: dict[str, Any]) -> None:
    """Print a row per group with its figures, then the worst answers by line."""
    from medsweep.metrics.significance import ALPHA
    from medsweep.metrics.statistics import Interval
    from medsweep.report.numbers import share, share_spread

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for each in scores["breakdown"]:
        row = rows.setdefault(
            (each["column"], each["group"]), {"by": each["column"], "group": each["group"]}
        )
        differs = each["p_value"] is not None and each["p_value"] <= ALPHA
        mark = "" if not differs else " +" if each["mean"] > each["rest"] else " -"
        quality = Interval(each["mean"], each["low"], each["high"])
        bounds = f" [{share_spread(quality)}]" if quality.low is not None else ""
        row["questions"] = max(row.get("questions", 0), each["questions"])
        row[each["figure"]] = f"{share(quality)}{bounds}{mark}"
    if rows:
        show(list(rows.values()), as_json=False)
        print("+ and -: differs from all other questions (p <= 0.05, Holm)\n")
    if scores["worst_lines"]:
        print(f"worst answers: lines {', '.join(map(str, scores['worst_lines']))}")
    if (change := scores["since_before"]) is not None:
        print(
            f"since before: of {change['questions']} questions token F1 rose in "
            f"{change['token_f1_higher']} and fell in {change['token_f1_lower']}, "
            f"{change['contradicting']} contradict more; "
            f"worst: {', '.join(change['worst']) or 'none'}"
        )


def _report_bad_lines(file: Path, bad: Sequence[BadLine]) -> None:
    for line in bad[:SHOWN_BAD_LINES]:
        print(f"medsweep: {file}: line {line.number} {line.problem}", file=sys.stderr)
    if len(bad) > SHOWN_BAD_LINES:
        more = len(bad) - SHOWN_BAD_LINES
        print(f"medsweep: {file}: and {more} more bad lines", file=sys.stderr)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
