"""Sentences about whose answers are better go by the test on the same questions."""

from typing import Any

import pytest

from made_rows import answers, row
from medsweep.report.paired_tests import PairedTest, PairedTests, paired_tests
from medsweep.report.table import p_value
from medsweep.report.tables.models import model_against_model
from medsweep.report.tables.paired import PairedRow, base_against_tuned
from medsweep.report.takeaways import take_away
from medsweep.report.verdict import verdict

Rows = list[dict[str, Any]]

HARD_AND_EASY = [0.05 * number for number in range(20)]
CLEARER = [score + 0.04 for score in HARD_AND_EASY]
UP_AND_DOWN = [score + (0.05, -0.04)[place % 2] for place, score in enumerate(HARD_AND_EASY)]


def measured(model: str, variant: str, scores: list[float], key: str) -> dict[str, Any]:
    """One row whose interval, as questions differ so much, overlaps any other's here."""
    mean = sum(scores) / len(scores)
    bounds = {"token_f1_low": mean - 0.1, "token_f1_high": mean + 0.1, "questions": 20}
    return row(model=model, variant=variant, key=key, token_f1=mean, e2e_mean_s=1.0, **bounds)


def two_variants(tuned: list[float]) -> tuple[Rows, list[PairedRow], PairedTests]:
    rows = [measured("a", "adapter", tuned, "k"), measured("a", "base", HARD_AND_EASY, "k")]
    graded = [*answers(tuned), *answers(HARD_AND_EASY, variant="base")]
    paired = base_against_tuned(rows, {"k": graded})
    return rows, paired, paired_tests(rows, paired, [])


def two_models(second: list[float]) -> tuple[Rows, PairedTests]:
    rows = [measured("a", "adapter", HARD_AND_EASY, "k"), measured("b", "adapter", second, "l")]
    scores = {"k": answers(HARD_AND_EASY), "l": answers(second)}
    return rows, paired_tests(rows, [], model_against_model(rows, scores))


def test_base_and_fine_tuned_whose_intervals_overlap_are_told_apart_by_their_test() -> None:
    rows, paired, tests = two_variants(CLEARER)
    best, *_, effect = take_away(rows, paired, tests)
    assert best == "Best token F1 (observed): a (adapter), 0.52 [0.42 to 0.61]."
    assert "token F1 is higher after fine-tuning" in effect
    found = verdict(rows, tests)
    assert found.decided
    # All of 20 gain, so none of 2,000 drawn patterns of signs is as far from 0; thirteen figures.
    assert found.reasons[0].endswith(
        "On the same 20 questions the lead is +0.04: beyond chance (p = 0.0065)."
    )
    test = tests["observed", ("a", "adapter"), ("a", "base")]
    assert test.p_adjusted == pytest.approx(13 / 2001)


def test_base_and_fine_tuned_that_the_test_does_not_tell_apart_are_said_to_be_uncertain() -> None:
    rows, paired, tests = two_variants(UP_AND_DOWN)
    best, *_ = take_away(rows, paired, tests)
    assert best.endswith(
        "On the same questions it is not clearly better than a (base), so their order is uncertain."
    )
    assert "overlap" not in best
    found = verdict(rows, tests)
    assert not found.decided
    assert found.next_steps[0] == "Ask more questions: 20 do not tell the two apart."


@pytest.mark.parametrize(("second", "decided"), [(CLEARER, True), (UP_AND_DOWN, False)])
def test_models_on_the_same_questions_go_by_their_test(second: list[float], decided: bool) -> None:
    rows, tests = two_models(second)
    best, *_ = take_away(rows, [], tests)
    assert best.startswith("Best token F1 (observed): b (adapter)")
    assert "overlap" not in best
    assert ("it is not clearly better than a (adapter)" in best) == (not decided)
    found = verdict(rows, tests)
    assert found.decided == decided
    assert "On the same 20 questions the lead is +0.0" in found.reasons[0]


def test_a_test_is_read_from_either_side() -> None:
    _, tests = two_models(CLEARER)
    ahead, behind = (
        tests["observed", one, other]
        for one, other in (
            (("b", "adapter"), ("a", "adapter")),
            (("a", "adapter"), ("b", "adapter")),
        )
    )
    assert ahead.lead == pytest.approx(0.04) == -behind.lead
    assert (ahead.p_adjusted, ahead.questions) == (behind.p_adjusted, 20)
    assert (ahead.is_better, behind.is_better) == (True, False)


@pytest.mark.parametrize(
    ("lead", "p_adjusted", "better", "ending"),
    [
        (0.03, 0.0045, True, "+0.03: beyond chance (p = 0.0045)."),
        (-0.03, 0.0045, False, "\N{MINUS SIGN}0.03: beyond chance (p = 0.0045)."),
        (0.03, 0.0501, False, "+0.03: not beyond chance (p = 0.050)."),
        (-0.03, 1.0, False, "\N{MINUS SIGN}0.03: not beyond chance (p = 1.0)."),
        (0.03, 1.6e-30, True, "+0.03: beyond chance (p < 0.0001)."),
        (0.03, None, False, "+0.03, not tested."),
    ],
)
def test_the_sentence_goes_by_the_p_value_whichever_side_leads(
    lead: float, p_adjusted: float | None, better: bool, ending: str
) -> None:
    test = PairedTest(lead, p_adjusted, 20, 2)
    assert test.is_better == better
    assert test.sentence == f"On the same 20 questions the lead is {ending}"
    if p_adjusted is not None:
        told = f"(p = {p_value(p_adjusted, '').text})".replace("= <", "<")
        assert told in ending, "the tables show it alike"


def test_without_common_questions_the_intervals_decide() -> None:
    rows, _ = two_models(CLEARER)
    best, *_ = take_away(rows, [], paired_tests(rows, [], []))
    assert best.endswith("The interval of a (adapter) overlaps it, so their order is uncertain.")
    assert not verdict(rows, {}).decided


def test_no_test_is_taken_of_a_model_that_answered_with_and_without_its_adapter() -> None:
    """The test between models pools the answers of both: it is of neither."""
    rows, _ = two_models(CLEARER)
    mixed = [*rows, {**rows[1], "variant": "base", "profile": "other", "key": "m"}]
    scores = {"k": answers(HARD_AND_EASY), "l": answers(CLEARER)}
    assert paired_tests(mixed, [], model_against_model(mixed, scores)) == {}
