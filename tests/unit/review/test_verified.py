import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from made_rows import BLANK, UNANSWERED, row
from medsweep.results.schema import RESPONSES
from medsweep.results.store import write_rows
from medsweep.review.sheet import answer_digest
from medsweep.review.verified import verified_rows

# Question, answer, share of quantities given, consistency.
ANSWERS = (
    ("q1", "Take 5 mg.", 1.0, 1.0),
    ("q2", "Take 50 mg.", 0.0, 0.0),
    ("q3", "Rest.", None, 1.0),
    ("q4", "Walk.", None, 1.0),
    ("q5", "Not rated.", 1.0, 1.0),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store(tmp_path, {})


def store(folder: Path, claims: Mapping[str, float]) -> Path:
    """Write the answers, with the consistency of their claims by question."""
    answers = [
        {
            **UNANSWERED,
            "load_point": "c2",
            "repeat": 1,
            "variant": "adapter",
            "index": number,
            "question_id": question,
            "question": f"{question}?",
            "reference": "Take 5 mg.",
            "answer": text,
            "quantity_agreement": given,
            "consistency": consistent,
            "claim_consistency": claims.get(question),
        }
        for number, (question, text, given, consistent) in enumerate(ANSWERS)
    ]
    write_rows(folder / "cells" / "k" / "responses.parquet", RESPONSES, answers)
    return folder


def rows() -> list[dict[str, Any]]:
    measured = row(
        verified_share=0.6, verified_share_low=0.1, verified_share_high=0.9, verified_by="rules"
    )
    return [BLANK | measured | {"requests_per_s": 2.0, "usd_per_hour": 3.6}]


def passed(folder: Path, name: str, verdicts: dict[str, bool], **more: Any) -> None:
    texts = {question: text for question, text, *_ in ANSWERS}
    digests = {answer_digest(f"{q}?", texts[q]): verdict for q, verdict in verdicts.items()}
    (folder / name).write_text(json.dumps({"passed": digests, **more}))


def test_without_raters_or_judge_the_rules_decide(folder: Path) -> None:
    assert verified_rows(folder, rows()) == rows()


def test_an_answer_is_verified_by_rules_and_raters_together(folder: Path) -> None:
    # Of four rated answers: right and passed, wrong and passed, right and failed, passed.
    passed(folder, "review.json", {"q1": True, "q2": True, "q3": False, "q4": True})
    [found] = verified_rows(folder, rows())
    assert found["verified_share"] == 1 / 2
    # The exact interval of 2 in 4.
    assert found["verified_share_low"] == pytest.approx(0.0676, abs=1e-4)
    assert found["verified_share_high"] == pytest.approx(0.9324, abs=1e-4)
    assert found["verified_by"] == "quantities, statements and raters; no entailment or judge"
    # 3.6 USD/h are 0.001 USD/s for two answers, of which half are verified.
    assert found["usd_per_verified_answer"] == pytest.approx(0.001)
    assert found["usd_per_verified_answer_high"] == pytest.approx(0.0005 / 0.0676, rel=1e-3)


def a_judge(low: float | None = 0.7) -> dict[str, Any]:
    """What `judge.json` says of one whose alpha with the raters is at least so much."""
    return {"judge": {"model": "m"}, "agreement": {"bias": {"low": low, "units": 20}}}


def test_raters_overrule_a_judge_who_fills_in_for_them(folder: Path) -> None:
    passed(folder, "judge.json", {"q1": False, "q3": True, "q4": True}, **a_judge())
    assert verified_rows(folder, rows())[0]["verified_share"] == pytest.approx(2 / 3)
    passed(folder, "review.json", {"q1": True, "q3": False})
    [found] = verified_rows(folder, rows())
    assert found["verified_share"] == pytest.approx(2 / 3)
    assert found["verified_by"] == "quantities, statements, a judge (m) and raters; no entailment"


@pytest.mark.parametrize("low", [None, 0.5])
def test_a_judge_with_an_opinion_does_not_count(folder: Path, low: float | None) -> None:
    passed(folder, "judge.json", {"q1": False, "q3": True, "q4": True}, **a_judge(low))
    [found] = verified_rows(folder, rows())
    # Of three answers whose reference has quantities, two give them.
    assert found["verified_share"] == pytest.approx(2 / 3)
    by = "quantities and statements; no entailment, judge or raters; not counted: m"
    assert found["verified_by"] == by
    passed(folder, "review.json", {"q1": True, "q3": False})
    [found] = verified_rows(folder, rows())
    assert found["verified_share"] == 1 / 2
    assert found["verified_by"].endswith("raters; no entailment or judge; not counted: m")


def test_of_several_judges_one_counts(folder: Path) -> None:
    texts = {question: text for question, text, *_ in ANSWERS}
    digest = answer_digest("q3?", texts["q3"])
    judges = {
        name: {**a_judge(low), "passed": {digest: verdict}}
        for name, low, verdict in (("m", 0.7, False), ("n", 0.9, True), ("o", 0.1, False))
    }
    (folder / "judge.json").write_text(json.dumps({"judges": judges}))
    [found] = verified_rows(folder, rows())
    assert found["verified_share"] == 1
    assert found["verified_by"] == (
        "quantities, statements and a judge (n); no entailment or raters; not counted: m, o"
    )


def test_a_claim_that_is_contradicted_fails_what_raters_passed(tmp_path: Path) -> None:
    # Of five sentences one is contradicted; where none was judged, nothing is.
    folder = store(tmp_path, {"q1": 0.8, "q4": 1.0})
    passed(folder, "review.json", {"q1": True, "q3": True, "q4": True})
    judged = [{**rows()[0], "claims_by": "nli@1"}]
    [found] = verified_rows(folder, judged)
    assert found["verified_share"] == pytest.approx(2 / 3)
    by = "quantities, statements, entailment (nli@1) and raters; no judge"
    assert found["verified_by"] == by
    # Writing the columns again changes nothing.
    assert verified_rows(folder, [found]) == [found]


def test_answers_that_nobody_rated_have_no_share(folder: Path) -> None:
    (folder / "review.json").write_text(json.dumps({"passed": {"0" * 64: True}}))
    [found] = verified_rows(folder, rows())
    assert found["verified_share"] is None
    assert found["usd_per_verified_answer"] is None
    assert found["verified_by"].endswith("none of these answers was rated")
    # Rows of other measurements, and a review of an earlier version, change nothing.
    other = [{**rows()[0], "repeat": 2}]
    assert verified_rows(folder, other) == other
    (folder / "review.json").write_text("{}")
    assert verified_rows(folder, rows()) == rows()
