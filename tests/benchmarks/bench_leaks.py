"""How many of MedQuAD's evaluation answers were learnt: the table of docs/datasets.md."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from bench_finetune import MEDQUAD

from medsweep.datasets.leakage import Leak, leaks
from medsweep.datasets.spec import DatasetSpec, Pair
from medsweep.datasets.split import load_split

PAIRS, HELD_OUT = 2000, 100
SPLITS: dict[str, tuple[dict[str, Any], int]] = {
    "by question, with the cleaning rules (MedSweep's default)": ({}, 10),
    "`split_by: focus`": ({"split_by": "focus"}, 3),
    "`split_by: document_id`": ({"split_by": "document_id"}, 3),
    "`split_by: source`": ({"split_by": "source"}, 1),
    "`leaks: exclude`": ({"leaks": "exclude"}, 3),
}


@pytest.mark.timeout(900)
def test_leaked_answers_of_each_split() -> None:
    if not MEDQUAD.is_file():
        pytest.skip(f"no MedQuAD at {MEDQUAD}; set MEDQUAD")
    print("\n| split | draws | leaked | of these: same question |\n| --- | --- | --- | --- |")
    with gzip.open(MEDQUAD, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = [Pair(str(n), row["question"], row["answer"]) for n, row in enumerate(rows)]
    drawn = [random.Random(seed).sample(pairs, PAIRS) for seed in range(10)]
    _tell(
        "rows at random, as the paper's text reads",
        [leaks(each[HELD_OUT:], each[:HELD_OUT]) for each in drawn],
    )
    for name, (options, draws) in SPLITS.items():
        spec = DatasetSpec(
            name="medquad",
            path=str(MEDQUAD),
            sample=PAIRS,
            eval_fraction=HELD_OUT / PAIRS,
            **options,
        )
        _tell(name, [load_split(spec, seed).leaks for seed in range(draws)])


def _tell(name: str, draws: list[list[Leak]]) -> None:
    same = [sum(leak.same_question for leak in each) for each in draws]
    counts = [_range(map(len, draws)), _range(same)]
    print(f"| {name} | {len(draws)} | {counts[0]} | {counts[1]} |")


def _range(counts: Iterable[int]) -> str:
    least, *_, most = sorted([*counts] * 2)
    return str(least) if least == most else f"{least} to {most}"
