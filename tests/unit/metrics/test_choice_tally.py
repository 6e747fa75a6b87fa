import pytest

from medsweep.metrics.choice_rows import ChoiceQuestion
from medsweep.metrics.choice_tally import ChoiceTally

OPTIONS = ["iron", "zinc", "lead", "tin"]


def question(right: int, counts_from: int | None = 0) -> ChoiceQuestion:
    return ChoiceQuestion(OPTIONS, right, counts_from, "Which?")


def test_accuracy_with_its_exact_interval() -> None:
    tally = ChoiceTally()
    assert tally.accuracy() is None
    for choice in [0] * 8 + [1, None]:
        tally.add(choice, question(0))
    assert (tally.answers, tally.right, tally.unreadable) == (10, 8, 1)
    # Clopper and Pearson 1934, of 8 in 10, from their table.
    assert tally.accuracy() == pytest.approx((0.8, 0.444, 0.975), abs=1e-3)
    assert tally.confidence(seed=1) is None


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        ([0, 1, 3], 3),  # from 0, as on the hub
        ([1, 2, 4], 0),  # from 1, as the publisher has them
        ([1, 2, 3], None),
        ([0, 1, 4], None),
    ],
)
def test_medmcqa_counts_from_0_or_from_1(numbers: list[int], right: int | None) -> None:
    tally = ChoiceTally()
    for number in numbers:
        tally.add(number, question(number, counts_from=None), 0.5)
    assert tally.right == right
    if right is None:
        assert (tally.accuracy(), tally.confidence(seed=1)) == (None, None)
        assert "cannot be told" in str(tally.reason)
    else:
        assert tally.reason is None
        # All choices are one too high, if `cop` counts from 1.
        assert tally.accuracy() is not None


def test_confidence_is_that_of_the_answers_that_have_one() -> None:
    tally = ChoiceTally()
    for choice, sure in ((0, 0.9), (1, 0.6), (0, 0.8), (1, None), (None, 0.1)):
        tally.add(choice, question(0), sure)
    found = tally.confidence(seed=1)
    assert found is not None
    assert found.ranking is not None
    assert (found.questions, found.ranking.mean) == (4, 1.0)
    assert found.brier is not None
    assert found.brier.mean == pytest.approx((0.01 + 0.36 + 0.04 + 0.01) / 4)
