import json
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
        }
        for number, (question, text, given, consistent) in enumerate(ANSWERS)
    ]
    write_rows(tmp_path / "cells" / "k" / "responses.parquet", RESPONSES, answers)
    return tmp_path


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
    assert found["verified_by"] == "quantities, statements and raters; no entailment"
    # 3.6 USD/h are 0.001 USD/s for two answers, of which half are verified.
    assert found["usd_per_verified_answer"] == pytest.approx(0.001)
    assert found["usd_per_verified_answer_high"] == pytest.approx(0.0005 / 0.0676, rel=1e-3)


def test_raters_overrule_a_judge_who_fills_in_for_them(folder: Path) -> None:
    judge = {"judge": {"model": "m"}, "standing": "an opinion"}
    passed(folder, "judge.json", {"q1": False, "q3": True, "q4": True}, **judge)
    assert verified_rows(folder, rows())[0]["verified_share"] == pytest.approx(2 / 3)
    passed(folder, "review.json", {"q1": True, "q3": False})
    [found] = verified_rows(folder, rows())
    assert found["verified_share"] == pytest.approx(2 / 3)
    by = "quantities, statements, raters and a judge (m, an opinion); no entailment"
    assert found["verified_by"] == by


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
