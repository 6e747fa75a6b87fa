import math

import numpy as np
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
    first, second = ranking(scores)
    assert (first.system, second.system) == ("a", "b")
    odds = first.win_share / (1 - first.win_share)
    assert odds**2 == pytest.approx(6.5 / 2.5)
    assert (first.wins, first.comparisons) == (6, 8)
    assert first.low is not None
    assert first.high is not None
    assert 0.3 < first.low < first.win_share < first.high < 0.9


def test_three_systems_in_order_ties_and_one_alone() -> None:
    scores = {f"q{n}": [{"good": 3.0, "fair": 2.0, "bad": 1.0}] for n in range(10)}
    assert [rank.system for rank in ranking(scores)] == ["good", "fair", "bad"]
    tied = ranking({f"q{n}": [{"a": 1.0, "b": 1.0}] for n in range(5)})
    assert [rank.win_share for rank in tied] == [0.5, 0.5]
    assert ranking({"q": [{"a": 1.0}]}) == []
    assert ranking({"q": [{"a": 1.0, "b": 0.0}]})[0].low is None


@pytest.mark.parametrize("count", [2, 5, 20, 100])
def test_one_that_always_wins_may_still_lose(count: int) -> None:
    first, second = ranking({f"q{n}": [{"a": 1.0, "b": 0.0}] * 3 for n in range(count)})
    assert (first.system, first.high, second.low) == ("a", 1.0, 0.0)
    assert first.low is not None
    assert second.high == pytest.approx(1 - first.low)
    # The exact end of the share of questions that it wins; a win share has the root of its odds.
    share = 0.025 ** (1 / count)
    exact = 1 / (1 + math.sqrt((1 - share) / share))
    assert 0 < first.low < exact
    assert first.low > exact - 0.15 or count < 20


def test_questions_without_a_comparison_change_nothing() -> None:
    compared = {f"q{n}": [{"a": 1.0, "b": 0.0}] for n in range(10)}
    alone = {f"only {n}": [{"a": 1.0}] for n in range(20)}
    for rank, same in zip(ranking(compared), ranking({**compared, **alone}), strict=True):
        assert (same.system, same.comparisons) == (rank.system, rank.comparisons)
        ends = (rank.win_share, rank.low, rank.high)
        assert (same.win_share, same.low, same.high) == pytest.approx(ends)
    two = ranking({"q": [{"a": 1.0, "b": 0.0}], "only": [{"a": 1.0}]})
    assert [(rank.low, rank.high) for rank in two] == [(None, None)] * 2
    none = ranking({"one": [{"a": 1.0}], "other": [{"b": 1.0}]})
    assert [(rank.win_share, rank.low, rank.comparisons) for rank in none] == [(0.5, None, 0)] * 2


def test_comparisons_of_others_do_not_narrow_an_interval() -> None:
    scores = {f"q{n}": [{"a": 1.0, "b": 0.0}] for n in range(3)}
    scores |= {f"others {n}": [{"b": 1.0, "c": 1.0}] for n in range(30)}
    best = ranking(scores)[0]
    assert (best.system, best.comparisons) == ("a", 3)
    # Three wins of three have a probability of 1/8 if both are equal.
    assert best.low is not None
    assert best.low < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("strengths", [(0.0, 0.0), (3.0, 0.0), (2.0, 1.0, 0.0)])
def test_the_interval_of_a_win_share_covers_it(strengths: tuple[float, ...]) -> None:
    """Ratings by three raters who mostly agree: utilities with Gumbel's noise are the model's."""
    rng = np.random.default_rng(5)
    true = np.array(strengths) - np.mean(strengths)
    shares = 1 / (1 + np.exp(-true))
    covered, samples = 0, 60
    for _ in range(samples):
        scores = {}
        for question in range(20):
            noise = rng.gumbel(size=len(true))
            own = rng.gumbel(size=(3, len(true)))
            rated = true + np.where(rng.random((3, 1)) < 0.8, noise, own)
            scores[f"q{question}"] = [
                dict(zip("abc", each.tolist(), strict=False)) for each in rated
            ]
        for rank in ranking(scores):
            assert rank.low is not None
            assert rank.high is not None
            covered += rank.low <= shares["abc".index(rank.system)] <= rank.high
    assert covered >= 0.9 * samples * len(true)
