"""What each quality figure sees of deliberate errors: the tables of docs/quality.md.

First in answers that are otherwise word for word their reference, as the clinical-error meter makes
them; then in answers in other words, for which two sources of MedQuAD answer the same question.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import pytest
from bench_finetune import MEDQUAD

from medsweep.datasets.spec import DatasetSpec
from medsweep.datasets.split import load_split
from medsweep.metrics.agreement import agreement
from medsweep.metrics.meter import MOST, measure_detection
from medsweep.metrics.perturb import ERRORS, perturbed

SEED = 3
SHOWN = {
    "exact_match": "exact match",
    "ngram_match": "n-gram match",
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
    "token_f1": "token F1",
    "quantity_agreement": "quantities",
    "consistency": "consistency",
    "concept_f1": "concepts",
}


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["medquad", "embedded"])
def test_what_each_figure_sees(name: str) -> None:
    spec = DatasetSpec()
    if name == "medquad":
        _needs_medquad()
        spec = DatasetSpec(name=name, path=str(MEDQUAD), sample=2000)
    split = load_split(spec, SEED)
    pairs = [*split.evaluation, *split.train][:MOST]
    detections = measure_detection(
        [pair.answer for pair in pairs], [pair.question for pair in pairs], seed=SEED
    )
    shares = {(each.kind, each.figure): each for each in detections}
    print(f"\n{name}, {len(pairs)} answers\n{_row(['error', *SHOWN.values()])}")
    for kind in dict.fromkeys(each.kind for each in detections):
        tried = shares[kind, "consistency"].tried
        seen = (_share(shares[kind, figure].share) for figure in SHOWN)
        if tried:
            print(_row([f"{kind} ({tried})", *seen]))


@pytest.mark.timeout(600)
def test_what_consistency_sees_in_other_words() -> None:
    _needs_medquad()
    with gzip.open(MEDQUAD, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    alike = defaultdict(list)
    for row in rows:
        alike[row["focus"].strip().lower(), row["question_type"]].append(row)
    pairs = [
        (one["answer"], other["answer"])
        for same in alike.values()
        for one, other in combinations(same, 2)
        if one["source"] != other["source"] and one["answer"] != other["answer"]
    ]
    right = [agreement(*pair).consistent for pair in pairs]
    print(f"\nright answers taken for contradictions: {right.count(False)} of {len(pairs)}")
    print(_row(["error", "tried", "seen"]))
    for kind in ERRORS:
        tried = seen = 0
        for place, (answer, reference) in enumerate(pairs):
            wrong = perturbed(kind, [answer], [""], place) if right[place] else []
            tried += len(wrong)
            seen += sum(not agreement(changed, reference).consistent for changed, _ in wrong)
        if tried:
            print(_row([kind, str(tried), f"{seen} ({_share(seen / tried)})"]))


def _needs_medquad() -> None:
    if not MEDQUAD.is_file():
        pytest.skip(f"no MedQuAD at {MEDQUAD}; set MEDQUAD")
