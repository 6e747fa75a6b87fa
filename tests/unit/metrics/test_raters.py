import pytest

from medsweep.metrics.raters import ranking, reliability

# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers,
# twelve units, 0 for no rating. He gives 0.815 for ordinal data.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)
UNITS = [[rating for rating in unit if rating] for unit in zip(*OBSERVERS, strict=True)]


def test_alpha_equals_its_author_s_example() -> None:
    found = reliability(UNITS, seed=1)
    assert found.alpha == pytest.approx(0.815, abs=0.0005)
    assert found.units == 11, "one unit has a single rating"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.815 < found.high <= 1
    # One more unit on which two raters differ as much as 1 and 5 matters among eleven.
    more = reliability([*UNITS, [1, 5]], seed=1)
    assert more.alpha is not None
    assert 0 < found.low < more.alpha < 0.815


def test_alpha_of_perfect_agreement_of_chance_and_of_nothing() -> None:
    assert reliability([[0, 0], [2, 2], [1, 1]], seed=1).alpha == 1
    opposed = reliability([[0, 2], [2, 0]] * 10, seed=1).alpha
    assert opposed is not None
    assert opposed < 0
    assert reliability([[1, 1], [1, 1]], seed=1).alpha is None, "nothing varies"
    assert reliability([[1], [2]], seed=1).alpha is None, "nothing is rated twice"


@pytest.mark.parametrize("count", [2, 7, 20, 100, 500])
def test_agreement_everywhere_does_not_show_that_alpha_is_1(count: int) -> None:
    found = reliability([[0, 0], [1, 1]] * (count // 2) + [[1, 1]] * (count % 2), seed=1)
    assert (found.alpha, found.high) == (1, 1)
    # Disagreement on a share of units is missed by this many with a probability of 2.5 %: alpha is
    # then 1 minus twice the share, as half of all pairs disagree by chance.
    missed = 1 - 0.025 ** (1 / count)
    assert found.low == pytest.approx(1 - 2 * missed, abs=0.06 if count >= 20 else 1)
    assert found.low < 1


def test_more_disagreement_lowers_the_low_end() -> None:
    agreed = [[0, 0], [1, 1]] * 15
    lows = [reliability(agreed[wrong:] + [[0, 1]] * wrong, seed=1).low for wrong in range(5)]
    assert None not in lows
    assert lows == sorted(lows, key=float, reverse=True)  # type: ignore[arg-type]
    assert len(set(lows)) == 5


def test_the_ranking_of_two_systems_is_their_share_of_wins() -> None:
    # With half a win added to each: 6.5 of 9 and 2.5 of 9.
    scores = {f"q{n}": [{"a": 1.0, "b": 0.0 if n < 6 else 2.0}] for n in range(8)}
    first, second = ranking(scores, seed=1)
    assert (first.system, second.system) == ("a", "b")
    odds = first.win_share / (1 - first.win_share)
    assert odds**2 == pytest.approx(6.5 / 2.5)
    assert (first.wins, first.comparisons) == (6, 8)
    assert first.low is not None
    assert first.high is not None
    assert 0.4 < first.low < first.win_share < first.high < 0.85


def test_three_systems_in_order_ties_and_one_alone() -> None:
    scores = {f"q{n}": [{"good": 3.0, "fair": 2.0, "bad": 1.0}] for n in range(10)}
    assert [rank.system for rank in ranking(scores, seed=1)] == ["good", "fair", "bad"]
    tied = ranking({f"q{n}": [{"a": 1.0, "b": 1.0}] for n in range(5)}, seed=1)
    assert [rank.win_share for rank in tied] == [0.5, 0.5]
    assert ranking({"q": [{"a": 1.0}]}, seed=1) == []
    assert ranking({"q": [{"a": 1.0, "b": 0.0}]}, seed=1)[0].low is None
