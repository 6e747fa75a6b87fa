"""Multiple-choice questions as their publishers write them: MedQA, MedMCQA, PubMedQA, and our own.

MedQA (Jin et al. 2021): `question`, `options` by letter, `answer_idx`. MedMCQA (Pal et al. 2022):
`opa` to `opd`, and `cop`, which counts from 1 in the publisher's files and from 0 on the hub.
PubMedQA (Jin et al. 2019): a question with its contexts, and `final_decision`: yes, no or maybe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medsweep.json_lines import has_half_surrogate
from medsweep.metrics.choice import LETTERS, right_place

PUBMEDQA = ("yes", "no", "maybe")
_MEDMCQA = ("opa", "opb", "opc", "opd")


@dataclass(frozen=True)
class ChoiceQuestion:
    """A multiple-choice question.

    Attributes:
        options: the texts to choose from.
        right: place of the right one, from 0; of MedMCQA's rows the number as the row has it.
        counts_from: 0; None where a row alone does not tell (MedMCQA).
        question: its text, below its contexts; None if the row has none.
    """

    options: list[str]
    right: int
    counts_from: int | None
    question: object


def choice_question(row: Mapping[str, Any]) -> ChoiceQuestion | None:
    """Return the question of a row; None if it is no multiple-choice question.

    Args:
        row: one line of a file, or one row of a table.

    Raises:
        ValueError: its options or its answer cannot be used; says so without any of its text.
    """
    if "options" in row:
        options = _options(row["options"])
        answer = row.get("answer_idx")
        right = right_place(row.get("answer", "") if answer is None else answer, options)
        return ChoiceQuestion(options, right, 0, row.get("question"))
    if "cop" in row and _MEDMCQA[0] in row:
        options = _options([row[name] for name in _MEDMCQA if row.get(name) is not None])
        if type(row["cop"]) is not int or not 0 <= row["cop"] <= len(options):
            raise ValueError(f"`cop` is not a number from 0 to {len(options)}")
        return ChoiceQuestion(options, row["cop"], None, row.get("question"))
    if "final_decision" in row and "reference" not in row:
        if row["final_decision"] not in PUBMEDQA:
            raise ValueError(f"`final_decision` is none of {', '.join(PUBMEDQA)}")
        right = PUBMEDQA.index(row["final_decision"])
        return ChoiceQuestion([*PUBMEDQA], right, 0, _with_contexts(row))
    return None


def _options(given: object) -> list[str]:
    """Return the texts of a list, of an object by letter, or of a list of such pairs."""
    if isinstance(given, dict):
        given = [given[key] for key in sorted(given)]
    elif isinstance(given, list) and all(
        isinstance(each, dict) and "value" in each for each in given
    ):
        given = [each["value"] for each in given]
    if (
        not isinstance(given, list)
        or not 2 <= len(given) <= len(LETTERS)
        or not all(isinstance(each, str) and not has_half_surrogate(each) for each in given)
    ):
        raise ValueError(f"`options` is not a list of 2 to {len(LETTERS)} texts")
    return given


def _with_contexts(row: Mapping[str, Any]) -> object:
    question = row.get("question", row.get("QUESTION"))
    contexts = row.get("context", row.get("CONTEXTS"))
    if isinstance(contexts, dict):
        contexts = contexts.get("contexts")
    if not isinstance(contexts, list) or not isinstance(question, str):
        return question
    return "\n".join([*(each for each in contexts if isinstance(each, str)), question])
