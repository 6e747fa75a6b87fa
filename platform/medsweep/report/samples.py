"""A few answers beside their references, from cells whose texts were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.datasets.spec import known_public
from medsweep.metrics.entities import left_out, unsupported_entities
from medsweep.report.tables.grouping import model_order
from medsweep.results.aggregate import Row, basis_order, distinct, group_by, variant_order
from medsweep.results.reader import Results

QUESTIONS = 3


@dataclass(frozen=True)
class SampleAnswer:
    """One answer.

    Attributes:
        names: whose answer it is: models with variant and basis, several if they answer the same.
        text: the answer.
        token_f1: its score against the reference; None if it was not graded.
        unsupported: names and numbers that neither the question nor the reference mentions.
        left_out: names and numbers of the reference that the answer does not mention.
    """

    names: tuple[str, ...]
    text: str
    token_f1: float | None
    unsupported: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class SampleQuestion:
    """One question with its reference and an answer of each model and variant."""

    question: str
    reference: str
    answers: tuple[SampleAnswer, ...]


def public_answers(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Return the first answers by cell key; empty unless the dataset is known to be public.

    `keep_text` stores private texts for those who have the folder; a report is passed on.
    """
    return results.first_answers() if known_public(results.spec) else {}


def samples(rows: Sequence[Row], responses: Mapping[str, Sequence[Row]]) -> list[SampleQuestion]:
    """Return the first questions, each with the first answer of every model and variant.

    Args:
        rows: of `benchmark.parquet`.
        responses: answers with their texts by cell key.

    Returns:
        At most three; none if no text was kept.
    """
    cells = [group[0] for group in group_by(rows, lambda row: str(row["key"])).values()]
    cells.sort(key=lambda row: (model_order(row["model"]), basis_order(row["basis"])))
    kept = [
        {**answer, "model": cell["model"], "basis": cell["basis"]}
        for cell in cells
        for answer in responses.get(cell["key"], ())
        if None not in (answer["question"], answer["reference"], answer["answer"])
    ]
    by_question = group_by(kept, lambda answer: str(answer["question_id"]))
    return [
        SampleQuestion(group[0]["question"], group[0]["reference"], _answers(group))
        for group in (by_question[name] for name in distinct(kept, "question_id")[:QUESTIONS])
    ]


def _answers(answers: Sequence[Row]) -> tuple[SampleAnswer, ...]:
    groups = group_by(answers, lambda answer: (answer["model"], answer["variant"], answer["basis"]))
    first = [group[0] for group in groups.values()]
    first.sort(key=lambda answer: (model_order(answer["model"]), variant_order(answer["variant"])))
    same = group_by(first, lambda answer: (answer["answer"], answer["token_f1"]))
    return tuple(
        SampleAnswer(
            tuple(f"{each['model']}, {each['variant']} ({each['basis']})" for each in group),
            answer["answer"],
            answer["token_f1"],
            *(
                tuple(find(answer["answer"], answer["question"], answer["reference"]))
                for find in (unsupported_entities, left_out)
            ),
        )
        for group in same.values()
        for answer in group[:1]
    )
