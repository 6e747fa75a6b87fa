"""Intervals and tests over questions: by hand, and by simulation where nothing else tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medsweep.metrics import resampling
from medsweep.metrics.resampling import (
    PairedDifference,
    known_intervals,
    mean_intervals,
    paired_difference,
    paired_differences,
    share_interval,
)
from medsweep.metrics.statistics import Interval

Array = NDArray[np.float64]
RNG = np.random.Generator

SAMPLES = 600
SIZES = (10, 20, 50, 200)


def mixed(rng: RNG, size: tuple[int, int], share: float, rare: Array, common: Array) -> Array:
    return np.where(rng.random(size) < share, rare, common)


# Figures of quality as they come: a sampler and the true mean.
POPULATIONS: dict[str, tuple[Callable[[RNG, tuple[int, int]], Array], float]] = {
    "token F1": (lambda rng, size: rng.beta(2, 5, size), 2 / 7),
    "skewed": (lambda rng, size: rng.beta(0.5, 3, size), 0.5 / 3.5),
    "mostly 0": (
        lambda rng, size: mixed(rng, size, 0.3, rng.beta(2, 5, size), np.zeros(size)),
        0.3 * 2 / 7,
    ),
    "a tenth perfect": (
        lambda rng, size: mixed(rng, size, 0.1, np.ones(size), rng.beta(2, 8, size)),
        0.1 + 0.9 * 0.2,
    ),
    "a share of 5 %": (lambda rng, size: (rng.random(size) < 0.05).astype(float), 0.05),
    "a share of 20 %": (lambda rng, size: (rng.random(size) < 0.2).astype(float), 0.2),
}


def coverage(intervals: Sequence[Interval | PairedDifference], truth: float) -> float:
    covered = [
        each.low is not None and each.high is not None and each.low <= truth <= each.high
        for each in intervals
    ]
    return float(np.mean(covered))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("population", POPULATIONS)
def test_intervals_cover_the_truth_as_often_as_they_say(population: str, size: int) -> None:
    sample, truth = POPULATIONS[population]
    values = sample(np.random.default_rng(size), (size, SAMPLES))
    # Over 600 samples a coverage of 0.95 varies by 0.009.
    assert coverage(mean_intervals(values, seed=1, resamples=600), truth) >= 0.93


def test_intervals_of_a_large_sample_are_no_wider_than_they_must_be() -> None:
    values = np.random.default_rng(3).beta(2, 5, (400, 200))
    student = 2 * stats.t.ppf(0.975, 399) * values.std(axis=0, ddof=1) / 20
    widths = [
        each.high - each.low
        for each in mean_intervals(values, seed=1)
        if each.low is not None and each.high is not None
    ]
    assert len(widths) == 200
    assert float(np.mean(widths / student)) < 1.1


@pytest.mark.slow
@pytest.mark.parametrize("size", [6, *SIZES])
@pytest.mark.parametrize("population", POPULATIONS)
def test_no_difference_is_seldom_called_one(population: str, size: int) -> None:
    sample, _ = POPULATIONS[population]
    rng = np.random.default_rng(size)
    differences = sample(rng, (size, SAMPLES)) - sample(rng, (size, SAMPLES))
    found = paired_differences(differences, seed=1, resamples=600)
    false = np.mean([each.p_value is not None and each.p_value <= 0.05 for each in found])
    # The sign-flip test is exact: 0.05 at most, plus three standard errors of the simulation.
    assert false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SAMPLES)
    assert coverage(found, 0.0) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_answers_that_turn_right_or_wrong_are_covered(size: int) -> None:
    rng = np.random.default_rng(size)
    turned = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=(size, SAMPLES))
    assert coverage(paired_differences(turned, seed=1, resamples=600), 0.2) >= 0.93


# Differences as they come: a sampler and the true mean.
DIFFERENCES: dict[str, tuple[Callable[[RNG, tuple[int, int]], Array], float]] = {
    **{
        name: (lambda rng, size, sample=sample: sample(rng, size) - sample(rng, size), 0.0)
        for name, (sample, _) in POPULATIONS.items()
    },
    "skewed gain": (lambda rng, size: rng.beta(0.5, 3, size), 0.5 / 3.5),
    "half unchanged": (
        lambda rng, size: mixed(rng, size, 0.5, rng.beta(1, 4, size), np.zeros(size)),
        0.1,
    ),
    "tied": (
        lambda rng, size: rng.choice(
            [-0.5, -0.25, 0, 0.25, 0.5], p=[0.05, 0.1, 0.5, 0.2, 0.15], size=size
        ),
        0.075,
    ),
    "a third turned": (
        lambda rng, size: rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.6, 0.3], size=size),
        0.2,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DIFFERENCES)
def test_intervals_of_differences_cover_the_truth(name: str, size: int) -> None:
    sample, truth = DIFFERENCES[name]
    values = sample(np.random.default_rng(size), (size, SAMPLES))
    assert coverage(paired_differences(values, seed=1, resamples=600), truth) >= 0.93


@pytest.mark.slow
def test_intervals_of_differences_are_not_much_too_wide() -> None:
    """With 50 questions or more they cover 95 % and hardly more, and are about Student's."""
    for size, most in ((50, 1.15), (200, 1.07)):
        covered, widths = [], []
        for name in ("token F1", "skewed", "mostly 0", "tied", "a third turned"):
            sample, truth = DIFFERENCES[name]
            values = sample(np.random.default_rng(size), (size, SAMPLES))
            found = paired_differences(values, seed=1, resamples=600)
            covered.append(coverage(found, truth))
            student = 2 * stats.t.ppf(0.975, size - 1) * values.std(axis=0, ddof=1) / size**0.5
            # Some samples of a tied figure have no spread at all.
            width = np.array([(each.high or 0.0) - (each.low or 0.0) for each in found])
            widths.append(float(width.mean() / student.mean()))
        assert np.mean(covered) <= 0.965
        assert max(widths) <= most


def test_a_gain_that_most_answers_share_is_seen_and_covered() -> None:
    rng = np.random.default_rng(5)
    gains = rng.beta(2, 8, (20, SAMPLES)) - 0.1
    found = paired_differences(gains, seed=1, resamples=600)
    assert np.mean([each.p_value is not None and each.p_value <= 0.05 for each in found]) > 0.9
    assert coverage(found, 0.1) >= 0.93


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 20), (10, 10), (50, 100)])
def test_the_interval_of_a_share_is_the_exact_one(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert share_interval(successes, trials) == pytest.approx((expected.low, expected.high))


def test_answers_that_are_all_wrong_leave_room_for_right_ones() -> None:
    (interval,) = mean_intervals(np.zeros((20, 1)), seed=1)
    # 1 - 0.025^(1 / 20)
    assert astuple(interval)[:3] == pytest.approx((0.0, 0.0, 0.1684), abs=1e-4)


def test_few_answers_above_0_do_not_make_the_interval_endless() -> None:
    values = np.zeros((16, 1))
    values[0] = 0.06
    (interval,) = mean_intervals(values, seed=1)
    assert interval.high is not None
    assert 0.06 < interval.high < 0.2


def test_one_question_has_a_mean_and_no_bounds() -> None:
    assert mean_intervals(np.array([[0.4]]), seed=1) == [Interval(0.4, None, None)]
    single = paired_difference([0.1], [0.3], seed=1)
    assert (single.low, single.high, single.p_value) == (None, None, None)


def test_the_bounds_are_within_0_and_1() -> None:
    values = np.array([[0.0, 1.0], [0.0, 1.0], [0.1, 0.9], [0.2, 0.8]])
    low, high = mean_intervals(values, seed=1)
    assert low.low == 0.0
    assert high.high == 1.0


def test_figures_that_are_drawn_together_have_their_own_intervals() -> None:
    values = np.random.default_rng(2).beta(2, 5, size=(40, 2))
    together = mean_intervals(values, seed=1)
    for place in (0, 1):
        (alone,) = mean_intervals(values[:, [place]], seed=1)
        assert astuple(together[place]) == pytest.approx(astuple(alone))
    assert together[0] != together[1]


def test_a_figure_that_some_questions_lack_has_the_interval_of_the_others() -> None:
    values = np.random.default_rng(3).beta(2, 5, size=(40, 3))
    values[10:, 1] = np.nan
    values[:, 2] = np.nan
    full, some, none = known_intervals(values, seed=1)
    assert [full] == mean_intervals(values[:, :1], seed=1)
    assert [some] == mean_intervals(values[:10, 1:2], seed=1)
    assert none is None
    assert known_intervals(np.empty((0, 2)), seed=1) == [None, None]


def test_draws_follow_their_seed() -> None:
    values = np.zeros((400, 1))
    values[:8, 0] = np.linspace(0.5, 0.9, 8)
    assert mean_intervals(values, seed=1) == mean_intervals(values, seed=1)
    assert mean_intervals(values, seed=1) != mean_intervals(values, seed=2)


def test_a_large_sample_is_drawn_in_blocks_to_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(6)
    first, second = rng.random(50).tolist(), rng.random(50).tolist()
    at_once = paired_difference(first, second, seed=5)
    monkeypatch.setattr(resampling, "_DRAWS_AT_ONCE", 333)
    assert astuple(paired_difference(first, second, seed=5)) == pytest.approx(astuple(at_once))


def test_a_paired_look_sees_what_an_unpaired_one_would_not() -> None:
    rng = np.random.default_rng(11)
    first = rng.uniform(0, 0.8, 80)
    second = first + rng.normal(0.05, 0.05, 80)
    assert stats.ttest_ind(first, second).pvalue > 0.05
    found = paired_difference(first.tolist(), second.tolist(), seed=1)
    assert found.mean == pytest.approx(float((second - first).mean()))
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.mean < found.high
    assert found.p_value == pytest.approx(1 / 2001)
    assert (found.changed, found.pairs) == (80, 80)
    swapped = paired_difference(second.tolist(), first.tolist(), seed=1)
    assert swapped.mean == pytest.approx(-found.mean)
    assert swapped.p_value == found.p_value


def test_few_pairs_have_the_exact_p_value() -> None:
    # All of six gain: 2 of 64 patterns of signs are as far from 0.
    found = paired_difference([0.0] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], seed=1)
    assert found.p_value == 2 / 64


def test_too_few_pairs_for_a_small_p_value_have_none() -> None:
    found = paired_difference([0.0] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], seed=1)
    assert found.p_value is None
    assert found.low is not None
    assert found.low < 0 < found.mean


@pytest.mark.parametrize("expected", [2, 3.2])
@pytest.mark.parametrize("size", [2, 3, 5, *SIZES])
def test_rare_answers_that_turn_among_small_changes_are_covered(size: int, expected: float) -> None:
    """Two of `size` questions turn from wrong to right; one sample in eight has none of them."""
    share = min(0.5, expected / size)
    rng = np.random.default_rng(size)
    turned = mixed(rng, (size, 600), share, np.ones(1), rng.normal(0, 0.02, (size, 600)))
    assert coverage(paired_differences(turned, seed=1, resamples=400), share) >= 0.93


@pytest.mark.parametrize("size", [10, 20, 50])
def test_rare_answers_that_turn_among_moderate_changes_are_covered(size: int) -> None:
    rng = np.random.default_rng(size)
    shape = (size, SAMPLES)
    moderate = mixed(rng, shape, 0.3, rng.normal(0, 0.2, shape), rng.normal(0, 0.02, shape))
    turned = np.clip(mixed(rng, shape, 2 / size, np.ones(1), moderate), -1, 1)
    assert coverage(paired_differences(turned, seed=1, resamples=600), 2 / size) >= 0.93


def test_ten_changes_of_one_kind_have_an_interval_that_is_hardly_wider_than_student_s() -> None:
    values = np.random.default_rng(10).normal(0.05, 0.1, (10, SAMPLES))
    found = paired_differences(values, seed=1, resamples=600)
    student = 2 * stats.t.ppf(0.975, 9) * values.std(axis=0, ddof=1) / 10**0.5
    widths = [(each.high or 0.0) - (each.low or 0.0) for each in found]
    assert np.mean(widths) < 1.3 * student.mean()
    assert 0.93 <= coverage(found, 0.05) <= 0.99


def test_the_same_answers_twice_are_no_difference_as_far_as_they_can_tell() -> None:
    same = paired_difference([0.2, 0.4, 1.0] * 4, [0.2, 0.4, 1.0] * 4, seed=1)
    assert (same.mean, same.p_value, same.changed) == (0.0, 1.0, 0)
    # 1 - 0.025^(1 / 12)
    assert (same.low, same.high) == pytest.approx((-0.2646, 0.2646), abs=1e-4)


def test_nothing_is_dropped_silently() -> None:
    with pytest.raises(ValueError, match="there are 2 and 1 of them"):
        paired_difference([1.0, 0.5], [1.0], seed=1)
    with pytest.raises(ValueError, match="no values"):
        paired_difference([], [], seed=1)
    with pytest.raises(ValueError, match="no values"):
        mean_intervals(np.zeros((0, 1)), seed=1)
