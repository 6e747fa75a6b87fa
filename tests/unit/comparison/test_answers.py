import numpy as np
import pytest

from made_rows import answers
from medsweep.comparison.answers import Contrast, compare_answers, pair_answers
from medsweep.comparison.finding import corrected


def test_answers_that_became_worse_are_found_in_pairs() -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.1, 0.4, 60)
    worse = scores - rng.uniform(0.0, 0.05, 60)
    found = corrected(
        compare_answers(
            [Contrast("x", answers(scores.tolist()), answers(worse.tolist()))], resamples=2000
        )
    )
    f1, right = found
    assert (f1.figure, f1.verdict, f1.changed, f1.pairs) == ("token_f1", "worse", 60, 60)
    assert f1.change == pytest.approx(float(worse.mean() / scores.mean() - 1))
    assert (right.figure, right.test, right.verdict) == (
        "exact_match",
        "no answer became correct or wrong",
        "not tested",
    )


def test_answers_of_two_bases_are_not_tested() -> None:
    right, wrong = answers([1.0] * 40), answers([0.0] * 40)
    contrast = Contrast("x", right, wrong, "emulated against observed")
    for found in compare_answers([contrast], resamples=2000):
        assert (found.p_value, found.test) == (None, "emulated against observed")


def test_right_answers_that_became_wrong_are_found() -> None:
    right = answers([1.0] * 12)
    wrong = answers([0.0] * 8 + [1.0] * 4)
    found = corrected(compare_answers([Contrast("x", right, wrong)], resamples=2000))[1]
    assert (found.before, found.after) == (1.0, pytest.approx(1 / 3))
    assert (found.verdict, found.changed, found.pairs) == ("worse", 8, 12)


def test_only_questions_that_both_were_asked_count() -> None:
    more = answers([0.5, 0.5, 0.5])
    pairs = pair_answers(more, answers([0.5, 0.4]))
    assert (len(pairs.first), pairs.changed) == (2, 1)
    others = [{**more[0], "question_id": "other"}]
    assert compare_answers([Contrast("x", more, others)], resamples=10) == []
    (single, _) = compare_answers([Contrast("x", more[:1], more[:1])], resamples=10)
    assert (single.p_value, single.test) == (None, "too few questions: 1 of at least 6")


def test_a_changed_text_with_the_same_score_is_a_change() -> None:
    before = answers([0.5, 0.5], answer="rest")
    after = [{**before[0]}, {**before[1], "answer": "sleep"}]
    assert pair_answers(before, after).changed == 1
    # Asked twice, answered the same: no change.
    assert pair_answers(before, [*before, *before]).changed == 0


def test_many_matches_come_to_what_each_comes_to_alone() -> None:
    rng = np.random.default_rng(3)
    matches = [
        Contrast(
            str(count), answers(rng.random(count).tolist()), answers(rng.random(count).tolist())
        )
        for count in (20, 30, 20, 1)
    ]
    together = compare_answers(matches, resamples=200)
    alone = [found for each in matches for found in compare_answers([each], resamples=200)]
    assert [each.subject for each in together] == [each.subject for each in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.p_value == other.p_value
        assert one.after == pytest.approx(other.after)


def test_few_answers_that_became_correct_cannot_be_told_from_chance() -> None:
    """If all of five gain, McNemar's p is 2 / 32: no test, and no cost to the others."""
    before = answers([0.2] * 20)
    for gained, p_value in ((5, None), (6, 2 / 64)):
        after = answers([1.0] * gained + [0.2] * (20 - gained))
        (_, correct) = compare_answers([Contrast("x", before, after)], resamples=10)
        assert correct.p_value == p_value
    (_, few) = compare_answers([Contrast("x", before, answers([1.0] + [0.2] * 19))], resamples=10)
    assert few.test == "too few answers became correct or wrong, 1: p is at least 1.0"
