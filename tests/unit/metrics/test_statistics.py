import math

import numpy as np
import pytest
from scipy import stats

from medsweep.metrics.statistics import (
    Interval,
    percentile_floor,
    repeat_interval,
)


@pytest.mark.parametrize(("p", "floor"), [(0.50, 11), (0.90, 64), (0.95, 130), (0.99, 662)])
def test_percentile_floor(p: float, floor: int) -> None:
    assert percentile_floor(p) == floor
    assert stats.binom.cdf(1, floor, 1 - p) <= 0.01 < stats.binom.cdf(1, floor - 1, 1 - p)


@pytest.mark.parametrize("p", [0.0, 1.0, 90])
def test_a_quantile_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile_floor(p)


def test_repeat_interval_by_hand() -> None:
    # s = 1, n = 3, t(0.975, 2) = 4.30265; of the logarithm, whose error is s / mean.
    margin = 4.30265 / math.sqrt(3) / 2
    interval = repeat_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2 * math.exp(-margin), abs=1e-5)
    assert interval.high == pytest.approx(2 * math.exp(margin), abs=1e-5)


def test_one_sample_has_a_mean_and_no_bounds() -> None:
    assert repeat_interval([4.0]) == Interval(4.0, None, None)


def test_two_samples_are_both_given_instead_of_an_interval() -> None:
    assert repeat_interval([0.3, 0.1]) == Interval(0.2, None, None, (0.3, 0.1))


EXP = math.exp(0.1**2 / 2)
"""Mean of a lognormal distribution with a sigma of 0.1."""


def covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    repeats = [covers(repeat_interval(rng.normal(5, 2, 3).tolist()), 5) for _ in range(600)]
    assert 0.93 <= np.mean(repeats) <= 0.97
    positive = [covers(repeat_interval(rng.lognormal(0, 0.1, 3).tolist()), EXP) for _ in range(600)]
    assert 0.93 <= np.mean(positive) <= 0.97


def test_the_interval_of_what_is_positive_stays_positive() -> None:
    interval = repeat_interval([0.05, 0.30, 0.55])
    assert interval.low is not None
    assert interval.high is not None
    assert 0 < interval.low < interval.mean < interval.high
    assert interval.low * interval.high == pytest.approx(interval.mean**2)


def test_what_can_be_zero_or_negative_has_student_s_interval() -> None:
    interval = repeat_interval([-1.0, 0.0, 1.0])
    assert interval.high == pytest.approx(4.30265 / math.sqrt(3), abs=1e-5)


def test_nothing_is_dropped_silently() -> None:
    with pytest.raises(ValueError, match="no values"):
        repeat_interval([])
