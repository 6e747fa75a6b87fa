"""Claims, judged by a fake whose verdicts follow from two words."""

from collections.abc import Sequence

import pytest

from medsweep.metrics.claims import MOST, Claims, Verdict, judged_claims, statements
from medsweep.metrics.meter import ANY_ERROR, measure_detection
from medsweep.metrics.quality import Grader
from medsweep.metrics.tally import AnswerTally

REFERENCE = "Rest helps. Do not smoke. Drink water."
ANSWER = "Rest helps. Sleep well."


class ByWord:
    """Contradicts where either text has a "not", cannot tell where one has "maybe" (fake).

    A text without sentences entails nothing.
    """

    name = "by word"

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], str]] = []

    def judge(self, pairs: Sequence[tuple[Sequence[str], str]]) -> list[Verdict]:
        self.asked += pairs
        return [
            self._verdict(" ".join([*text, stated]).lower()) if text else Verdict("neither")
            for text, stated in pairs
        ]

    def _verdict(self, words: str) -> Verdict:
        if "maybe" in words:
            return Verdict("neither", cut=True)
        return Verdict("contradicted" if "not" in words else "entailed")


def test_claims_are_counted_by_hand() -> None:
    judge = ByWord()
    # "Rest helps." is in both. The answer has no "not", so it entails "Drink water." and
    # contradicts "Do not smoke."; the reference has one, so it contradicts "Sleep well.".
    claims = judged_claims(ANSWER, REFERENCE, judge)
    assert claims == Claims(expected=3, recalled=2, stated=2, supported=1, contradicted=2, cut=0)
    assert claims.recall == pytest.approx(2 / 3)
    assert claims.precision == 1 / 2
    assert claims.consistency == pytest.approx(3 / 5)
    assert list(claims.columns.values()) == [3, 2, 2, 1, 2, 0]
    assert "Rest helps." not in [stated for _, stated in judge.asked]


def test_what_cannot_be_told_is_neither_and_cuts_are_counted() -> None:
    claims = judged_claims("Maybe rest.", "Drink water.", ByWord())
    assert claims == Claims(expected=1, recalled=0, stated=1, supported=0, contradicted=0, cut=2)
    assert claims + claims == Claims(2, 0, 2, 0, 0, 4)


def test_an_empty_text_has_no_claims() -> None:
    empty = judged_claims("", "", ByWord())
    assert (empty.recall, empty.precision, empty.consistency, empty.columns) == (
        None,
        None,
        None,
        {},
    )


def test_statements_are_distinct_and_without_marks_of_lists() -> None:
    text = "- Rest.\n2) Drink   water.\n3.\n* Rest. 5 mg daily."
    assert statements(text) == ["Rest.", "Drink water.", "5 mg daily."]
    assert len(statements(" ".join(f"Case {n} rests." for n in range(MOST + 50)))) == MOST


def test_figures_are_means_over_the_questions_that_have_them() -> None:
    tally = AnswerTally(grader=Grader(entailment=ByWord()))
    tally.add(ANSWER, REFERENCE, "a")
    tally.add("", REFERENCE, "a")  # states nothing: no precision, and no other than of the first
    tally.add("Drink water.", "Drink water.", "b")
    figures = tally.figures(seed=1)
    assert figures["claim_recall"].mean == pytest.approx((1 / 3 + 1) / 2)
    assert figures["claim_precision"].mean == pytest.approx((1 / 2 + 1) / 2)
    assert tally.claims.columns["claims_expected"] == 3 + 3 + 1
    assert tally.claims_by == "by word"
    assert tally.bounds.means()["empty"]["claim_recall"] == 0
    unjudged = AnswerTally()
    unjudged.add(ANSWER, REFERENCE)
    assert "claim_recall" not in unjudged.figures(seed=1)
    assert (unjudged.claims.columns, unjudged.claims_by) == (
        {},
        "not judged: no model for entailment was given",
    )


def test_an_answer_with_a_contradicted_claim_is_not_verified() -> None:
    reference = "Take 5 mg. Rest helps."
    answers = {
        "same": reference,
        # "Not" contradicts, in a sentence that no rule compares with another.
        "contradicted": "Take 5 mg. Not a word is clear.",
        # What is neither entailed nor contradicted is no contradiction.
        "unsure": "Take 5 mg. Maybe sleep.",
    }
    plain, judged = AnswerTally(), AnswerTally(grader=Grader(entailment=ByWord()))
    for question, answer in answers.items():
        plain.add(answer, reference, question)
        judged.add(answer, reference, question)
    shares = [tally.verified(seed=1) for tally in (plain, judged)]
    assert [share and share.mean for share in shares] == [1, pytest.approx(2 / 3)]
    assert plain.verified_by == "quantities and statements; no entailment, judge or raters"
    by = "quantities, statements and entailment (by word); no judge or raters"
    assert judged.verified_by == by


def test_the_meter_says_what_the_model_sees() -> None:
    references = [f"Fever {place} is treated with Aspirin. Rest is good." for place in range(40)]

    def seen(entailment: ByWord | None) -> dict[str, float | None]:
        grader = Grader(entailment=entailment)
        detections = measure_detection(references, seed=1, grader=grader)
        added = [each for each in detections if each.kind == "negation added"]
        assert any(each.kind == ANY_ERROR for each in detections)
        return {each.figure: each.share for each in added}

    assert seen(ByWord())["claim_consistency"] == 1.0
    assert "claim_consistency" not in seen(None)
