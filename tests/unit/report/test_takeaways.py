"""The sentences at the head of the report."""

from typing import Any

import pytest

from medsweep.report.tables.paired import base_against_tuned
from medsweep.report.takeaways import take_away

Rows = list[dict[str, Any]]


def test_a_clear_effect_is_a_takeaway(rows: Rows, responses: dict[str, Rows], small: Any) -> None:
    answers = responses[small.llama_key]
    answers += [
        {**answer, "question_id": f"{answer['question_id']}-{copy}"}
        for copy in range(3)
        for answer in list(answers)
    ]
    *_, effect = take_away(rows, base_against_tuned(rows, responses), {})
    assert effect.startswith(
        f"{small.llama} (emulated): token F1 is higher after fine-tuning: "
        "from 0.217 to 0.350, +0.133 ["
    )
    assert effect.endswith("over 24 questions.")


def test_answers_that_another_machine_gives_too_are_said_once(rows: Rows) -> None:
    """Only times are told of both bases."""
    observed = next(row for row in rows if row["basis"] == "observed")
    emulated = observed | {"basis": "emulated", "profile": "1xv100-1cpu", "key": "other"}
    quality, time, other = take_away([observed, emulated], [], {})
    assert quality.startswith("Best token F1 (observed)")
    assert {each.partition(" at ")[0] for each in (time, other)} == {
        "Shortest mean end-to-end time"
    }
    other_model = emulated | {"model": "other"}
    told = take_away([observed, other_model], [], {})
    assert any(each.startswith("Best token F1 (emulated): other") for each in told)


def test_too_few_questions_are_a_takeaway_that_says_so(
    rows: Rows, responses: dict[str, Rows], small: Any
) -> None:
    few = {
        key: [answer for answer in answers if answer["question_id"] in ("q0", "q1")]
        for key, answers in responses.items()
    }
    *_, effect = take_away(rows, base_against_tuned(rows, few), {})
    assert "after fine-tuning, on too few questions to tell a difference" in effect
    assert effect.endswith("over 2 questions.")


@pytest.mark.parametrize(
    ("ends", "doubt"),
    [
        ({"low": 0.25, "high": 0.35}, "."),
        ({"low": 0.25, "high": 0.45}, ". The interval of {} (adapter) overlaps it, so"),
        ({"low": None, "high": None}, ". {} (adapter) has no interval, so"),
    ],
)
def test_what_has_no_interval_is_not_said_to_overlap(
    rows: Rows, small: Any, ends: dict[str, float | None], doubt: str
) -> None:
    best = {**rows[0], "token_f1": 0.5, "token_f1_low": 0.4, "token_f1_high": 0.6}
    other = {**best, "model": small.distil, "cell": "other", "key": "other", "token_f1": 0.3}
    other |= {f"token_f1_{end}": value for end, value in ends.items()}
    first, *_ = take_away([best, other], [], {})
    assert first.partition("]")[2].startswith(doubt.format(small.distil))
    assert (first.partition("]")[2] == ".") == (doubt == ".")
    unknown, *_ = take_away([{**best, "token_f1_low": None, "token_f1_high": None}, other], [], {})
    assert unknown.endswith("0.500. It has no interval, so whether others are as good is unknown.")


def test_cells_of_different_engines_are_said_first(rows: Rows, responses: dict[str, Rows]) -> None:
    assert "different engines" not in take_away(rows, [], {})[0]
    mixed = [row | ({"engine": "vllm"} if row["profile"] == "host" else {}) for row in rows]
    assert "; vllm: standin-distilgpt2@host), so" in take_away(mixed, [], {})[0]
    external = [row | ({"server_url": "u"} if row["profile"] == "host" else {}) for row in mixed]
    assert "different engines" not in take_away(external, [], {})[0]
