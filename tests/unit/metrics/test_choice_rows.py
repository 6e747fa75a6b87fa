"""Rows as the publishers of MedQA, MedMCQA and PubMedQA write them, with invented questions."""

from typing import Any

import pytest

from medsweep.metrics.choice_rows import choice_question

MEDQA = {
    "question": "Which vitamin prevents scurvy?",
    "answer": "Vitamin C",
    "options": {"B": "Vitamin C", "A": "Vitamin B12", "D": "Iron", "C": "Zinc"},
    "meta_info": "step1",
    "answer_idx": "B",
}
MEDMCQA = {
    "id": "a-b",
    "question": "Which vitamin prevents scurvy?",
    "opa": "Vitamin B12",
    "opb": "Vitamin C",
    "opc": "Zinc",
    "opd": "Iron",
    "cop": 2,
    "exp": None,
}
PUBMEDQA = {
    "QUESTION": "Does vitamin C prevent scurvy?",
    "CONTEXTS": ["Sailors had scurvy.", "Lemons helped."],
    "LONG_ANSWER": "It does.",
    "final_decision": "yes",
}
ON_THE_HUB = {
    "question": "Does vitamin C prevent scurvy?",
    "context": {"contexts": ["Sailors had scurvy.", "Lemons helped."], "labels": ["a", "b"]},
    "long_answer": "It does.",
    "final_decision": "maybe",
}


def test_medqa_has_options_by_letter() -> None:
    found = choice_question(MEDQA)
    assert found is not None
    assert found.options == ["Vitamin B12", "Vitamin C", "Zinc", "Iron"]
    assert (found.right, found.question) == (1, MEDQA["question"])
    as_pairs = [{"key": key, "value": text} for key, text in sorted(MEDQA["options"].items())]  # type: ignore[attr-defined]
    assert choice_question(MEDQA | {"options": as_pairs}) == found


def test_medmcqa_has_a_column_for_each_option() -> None:
    found = choice_question(MEDMCQA)
    assert found is not None
    assert found.options == ["Vitamin B12", "Vitamin C", "Zinc", "Iron"]
    assert (found.right, found.counts_from) == (2, None)


@pytest.mark.parametrize(("row", "right"), [(PUBMEDQA, 0), (ON_THE_HUB, 2)])
def test_pubmedqa_asks_below_its_contexts(row: dict[str, Any], right: int) -> None:
    found = choice_question(row)
    assert found is not None
    assert (found.options, found.right) == (["yes", "no", "maybe"], right)
    assert found.question == "Sailors had scurvy.\nLemons helped.\nDoes vitamin C prevent scurvy?"


def test_other_rows_are_no_multiple_choice() -> None:
    assert choice_question({"prediction": "rest", "reference": "rest"}) is None
    long = {**PUBMEDQA, "prediction": "It does.", "reference": "It does."}
    assert choice_question(long) is None, "its long answer is the reference"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (MEDQA | {"answer_idx": "E"}, "`answer` is no option"),
        (MEDQA | {"options": {"A": "x"}}, "not a list of 2 to 26 texts"),
        (MEDMCQA | {"cop": -1}, "`cop` is not a number from 0 to 4"),  # of the test side
        (MEDMCQA | {"cop": "b"}, "`cop` is not a number from 0 to 4"),
        (PUBMEDQA | {"final_decision": "perhaps"}, "none of yes, no, maybe"),
    ],
)
def test_rows_that_cannot_be_used(row: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        choice_question(row)
