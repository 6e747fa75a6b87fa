import json
import math
from collections.abc import Sequence

import pytest

from medsweep.metrics.scored_lines import BadLine, grade_lines

GOOD = {"prediction": "rest", "reference": "rest"}

BAD = [
    (b"{", "is not JSON"),
    (b'{"prediction": "\xff"}', "is not UTF-8"),
    (b"[" * 100_000, "is nested too deeply"),
    (b'{"prediction": ' + b"[" * 2000 + b"]" * 2000 + b"}", "is nested too deeply"),
    (b'{"prediction": "a", "prediction": "b"}', "has a field twice"),
    (b'{"prediction": "\\ud83d", "reference": "a"}', "`prediction` holds half of a surrogate pair"),
    (b'{"prediction": NaN, "reference": "a"}', "`prediction` is null, not a text"),
    (b"[1]", "is a list, not an object"),
    (b"{}", "has no field `prediction`"),
    (json.dumps({"prediction": "x"}).encode(), "has no field `reference`"),
    (json.dumps({**GOOD, "reference": None}).encode(), "`reference` is null, not a text"),
    (json.dumps({**GOOD, "prediction": 3}).encode(), "`prediction` is a number, not a text"),
    (json.dumps({**GOOD, "id": [1]}).encode(), "`id` is a list, not a text or a number"),
    (json.dumps({**GOOD, "finish_reason": 1}).encode(), "`finish_reason` is a number, not a text"),
    (json.dumps({**GOOD, "options": ["x"]}).encode(), "`options` is not a list of 2 to 26 texts"),
    (
        json.dumps({**GOOD, "options": ["x", "y"], "answer": "C"}).encode(),
        "`answer` is no option: give its text, its letter or its place from 0",
    ),
]


@pytest.mark.parametrize(("line", "problem"), BAD)
def test_a_bad_line_is_named_and_the_rest_goes_on(line: bytes, problem: str) -> None:
    good = json.dumps(GOOD).encode()
    graded = grade_lines([good, b"\n", line, good])
    assert graded.bad == [BadLine(3, problem)]
    assert len(graded.texts) == 2
    assert graded.choices.answers == 0


def test_ids_join_answers_to_questions() -> None:
    rows = [{**GOOD, "id": 7}, {**GOOD, "id": "7"}, {**GOOD, "id": "8", "finish_reason": "length"}]
    graded = grade_lines(json.dumps(row).encode() for row in rows)
    assert graded.bad == []
    tally = graded.texts
    assert (len(tally), tally.questions, tally.truncated) == (3, 2, 1)


def test_multiple_choice_is_graded_apart() -> None:
    rows = [
        {"prediction": "yes, it does", "options": ["yes", "no", "maybe"], "answer": "yes"},
        {"prediction": "B.", "options": ["iron", "zinc", "lead", "tin"], "answer": 2},
        GOOD,
    ]
    graded = grade_lines(json.dumps(row).encode() for row in rows)
    assert graded.bad == []
    assert (graded.choices.answers, graded.choices.right, len(graded.texts)) == (2, 1, 1)


def test_options_without_a_prediction_are_chosen_from() -> None:
    rows = [
        {"question": "a?", "options": ["x", "y"], "answer": "B"},
        {"question": "b?", "options": ["x", "y"], "answer": "x"},
        {"question": 3, "options": ["x", "y"], "answer": "x"},
        {"prediction": "x", "options": ["x", "y"], "answer": "x"},
    ]
    asked: list[tuple[str, list[str]]] = []

    def choose(question: str, options: Sequence[str]) -> tuple[int, float]:
        asked.append((question, list(options)))
        return 1, 0.9

    graded = grade_lines([json.dumps(row).encode() for row in rows], choose)
    assert asked == [("a?", ["x", "y"]), ("b?", ["x", "y"])]
    assert (graded.choices.answers, graded.choices.right, graded.choices.unreadable) == (3, 2, 0)
    assert graded.bad == [BadLine(3, "`question` is a number, not a text")]


def test_confidence_comes_from_log_probabilities() -> None:
    options = {"options": ["yes", "no"], "answer": "yes"}
    rows = [
        {**options, "option_logprobs": [-0.1, -3.0]},
        {**options, "prediction": "no", "option_logprobs": [-0.1, -3.0]},
        {**options, "prediction": "yes", "confidence": 0.7},
        {**GOOD, "token_logprobs": [None, -0.5, -1.5]},
        {**GOOD, "prediction": "sleep", "token_logprobs": [-4]},
        {**options, "option_logprobs": [-0.1]},
        {**options, "prediction": "yes", "confidence": 70},
        {**GOOD, "token_logprobs": "-0.5"},
    ]
    graded = grade_lines([json.dumps(row).encode() for row in rows])
    assert [bad.problem for bad in graded.bad] == [
        "`option_logprobs` has 1 numbers for 2 options",
        "`confidence` is not a number from 0 to 1",
        "`token_logprobs` is not a list of numbers",
    ]
    choices, texts = graded.choices.confidence(seed=1), graded.texts.confidence(seed=1)
    assert choices is not None
    first = 1 / (1 + math.exp(-2.9))
    assert choices.brier is not None
    assert choices.brier.mean == pytest.approx((2 * (1 - first) ** 2 + 0.3**2) / 3)
    assert texts is not None
    assert texts.ranking is not None
    assert (texts.questions, texts.ranking.mean) == (2, pytest.approx(1.0))


def test_published_shapes_are_chosen_from() -> None:
    rows = [
        {"question": "a?", "options": {"A": "x", "B": "y"}, "answer_idx": "B"},
        {"question": "b?", "opa": "x", "opb": "y", "opc": "z", "opd": "w", "cop": 1},
        {"question": "b?", "opa": "x", "opb": "y", "opc": "z", "opd": "w", "cop": 0},
        {"question": "c?", "context": {"contexts": ["So."]}, "final_decision": "no"},
    ]
    asked: list[str] = []

    def choose(question: str, options: Sequence[str]) -> tuple[int, float]:
        asked.append(question)
        return 1, 0.9

    graded = grade_lines([json.dumps(row).encode() for row in rows], choose)
    assert graded.bad == []
    assert asked == ["a?", "b?", "b?", "So.\nc?"]
    assert (graded.choices.answers, graded.choices.right) == (4, 3)
