"""`medsweep score`: grade predictions from any source."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, seed
from medsweep.cli.score_lines import read_lines, row_lines, sample_lines
from medsweep.cli.score_tables import print_scores
from medsweep.errors import EXIT_DONE, InputError, MedSweepError, did_you_mean

if TYPE_CHECKING:
    from medsweep.datasets.catalog import DatasetEntry
    from medsweep.metrics.bounds import Cut
    from medsweep.metrics.confidence import Confidence
    from medsweep.metrics.scored_lines import BadLine, Graded

SHOWN_BAD_LINES = 10
SHOWN_ANSWERS = 10
LABELS = ("question_type", "source")
"""Fields by which quality is broken down unasked, where the lines have them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.jsonl|DATASET",
        help="a line for each answer, with `prediction` and `reference`, and where known `id` "
        "(answers with one id are one question), `finish_reason` and `token_logprobs`; or for "
        "multiple choice with `prediction`, `options` and `answer`, or the fields of MedQA, "
        "MedMCQA or PubMedQA, and where known `option_logprobs`; may be gzipped (.gz), or be a "
        ".json or .parquet file. Or a multiple-choice dataset on the hub that `medsweep datasets` "
        "lists, with --adapter",
    )
    parser.add_argument(
        "--revision",
        metavar="REV",
        help="commit, tag or branch of DATASET on the hub; default: the commit in the catalogue",
    )
    parser.add_argument(
        "--questions",
        type=int,
        metavar="N",
        help="grade N lines, drawn by seed; default: all",
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="DIR",
        help="have an adapter choose by log-likelihood if a line has `question`, `options` and "
        "`answer` but neither `prediction` nor `option_logprobs`",
    )
    parser.add_argument(
        "--base", action="store_true", help="have its base model choose, without the adapter"
    )
    parser.add_argument(
        "--bertscore",
        type=Path,
        metavar="DIR",
        help="add BERTScore, with the encoder in this folder",
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
        "--entailment",
        metavar="MODEL",
        help="judge which sentences answer and reference entail or contradict, with this model for "
        "natural language inference: a folder, or owner/name on the hub",
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
        "how many token F1 rose and fell, and which got worse",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of the bootstrap and of --questions"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every figure of quality; exit 1 if there were lines that could not be graded."""
    from medsweep.metrics.meter import MOST, measure_detection
    from medsweep.metrics.quality import Grader
    from medsweep.metrics.scored_lines import grade_lines
    from medsweep.models.entailment import load_grader

    entry = _dataset(options)
    choose = None
    if options.adapter is not None:
        from medsweep.finetune.multiple_choice import Chooser

        choose = Chooser(options.adapter, base_only=options.base).choose
    elif options.base:
        raise InputError("--base names no model: give --adapter DIR with it")
    bert = None
    if options.bertscore is not None:
        from medsweep.models.bertscore import BertScore

        bert = BertScore(options.bertscore)
    cut = _cut(options)
    questions: dict[str, str] = {}  # by reference

    def also(answer: str, reference: str, question: str) -> None:
        if bert is not None:
            bert.add(answer, reference)
        if options.meter and len(questions) < MOST:
            questions.setdefault(reference, question)

    grader = load_grader(options.lexicon, options.entailment)
    by = [*LABELS, *options.by]
    revision = None
    if entry is None:
        lines: Iterable[bytes] = read_lines(options.file)
    else:
        from medsweep.datasets.read import open_hub

        opened = open_hub(entry, options.revision, "`medsweep score FILE`")
        lines, revision = row_lines(opened.rows), opened.revision
    if options.questions is not None:
        lines = sample_lines(lines, options.questions, options.seed)
    graded = grade_lines(lines, choose, also=also, cut=cut, by=by, grader=grader)
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
    scores["dataset"] = entry and {
        "name": entry.name,
        "hub_id": entry.hub_id,
        "config": entry.config,
        "split": entry.split,
        "revision": revision,
    }
    if options.before is not None:
        earlier = grade_lines(read_lines(options.before), grader=Grader(grader.lexicon))
        _report_bad_lines(options.before, earlier.bad)
        scores["since_before"] = _since(options, earlier, graded)
    if bert is not None and (score := bert.f1(options.seed)) is not None:
        scores["figures"]["bertscore_f1"] = {**asdict(score), "max": bert.greatest}
    scores["meter"] = None
    if options.meter:
        detections = measure_detection(
            list(questions), list(questions.values()), seed=options.seed, grader=grader
        )
        scores["meter"] = [asdict(each) for each in detections]
    if options.json:
        print(json.dumps(scores, indent=2))
    else:
        print_scores(scores)
    return MedSweepError.exit_code if graded.bad else EXIT_DONE


def _dataset(options: argparse.Namespace) -> DatasetEntry | None:
    """Return the dataset on the hub that the file's name is of; None for a file.

    Raises:
        InputError: the other options do not fit it.
    """
    from medsweep.datasets.catalog import DATASETS

    if options.questions is not None and options.questions < 1:
        raise InputError(f"--questions {options.questions}: must be at least 1")
    name = str(options.file)
    entry = DATASETS[name] if name in DATASETS and not options.file.exists() else None
    if entry is None or not entry.choices:
        if options.revision is not None:
            raise InputError(f"{name}: --revision is for a multiple-choice dataset on the hub")
        if entry is not None:
            raise InputError(
                f"{name}: a dataset of questions without answers to grade; give a file of answers"
            )
    elif options.adapter is None:
        raise InputError(
            f"{name}: give --adapter DIR, which chooses among the options; with --base its base "
            "model does"
        )
    return entry


def _since(options: argparse.Namespace, before: Graded, after: Graded) -> dict[str, Any]:
    """Return in how many questions token F1 rose and fell, and which got worse."""
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


def _report(graded: Graded, seed: int) -> dict[str, Any]:
    from medsweep.metrics.claims import CLAIM_COUNTS

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
        **dict.fromkeys(CLAIM_COUNTS),
        **texts.claims.columns,
        "claims_by": texts.claims_by,
        "verified": verified and {**asdict(verified), "by": texts.verified_by},
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
        "confidence": _as_dict(texts.confidence(seed)),
        "choices": {
            "answers": choices.answers,
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "unreadable": choices.unreadable,
            "reason": choices.reason,
            "confidence": _as_dict(choices.confidence(seed)),
        },
    }


def _as_dict(confidence: Confidence | None) -> dict[str, Any] | None:
    return None if confidence is None else asdict(confidence)


def _report_bad_lines(file: Path, bad: Sequence[BadLine]) -> None:
    for line in bad[:SHOWN_BAD_LINES]:
        print(f"medsweep: {file}: line {line.number} {line.problem}", file=sys.stderr)
    if len(bad) > SHOWN_BAD_LINES:
        more = len(bad) - SHOWN_BAD_LINES
        print(f"medsweep: {file}: and {more} more bad lines", file=sys.stderr)
