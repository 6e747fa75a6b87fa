import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from scipy import stats

from medsweep.metrics import statistics
from medsweep.metrics.statistics import (
    Interval,
    bootstrap_intervals,
    paired_bootstrap,
    percentile,
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


def test_percentile_is_null_under_the_floor_and_linear_above() -> None:
    assert percentile([float(n) for n in range(63)], 0.9) is None
    assert percentile([float(n) for n in range(64)], 0.9) == pytest.approx(56.7)  # 0.9 · 63
    assert percentile([], 0.5) is None


def test_repeat_interval_by_hand() -> None:
    # s = 1, n = 3, t(0.975, 2) = 4.30265
    margin = 4.30265 / math.sqrt(3)
    interval = repeat_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.low == pytest.approx(2 - margin, abs=1e-5)
    assert interval.high == pytest.approx(2 + margin, abs=1e-5)


def test_one_sample_has_a_mean_and_no_bounds() -> None:
    assert repeat_interval([4.0]) == Interval(4.0, None, None)
    assert one_interval([4.0], seed=1) == Interval(4.0, None, None)
    single = paired_bootstrap([1.0], [3.0], seed=1)
    assert (single.mean, single.low, single.high, single.p_value) == (2.0, None, None, None)


def one_interval(values: Sequence[float], *, seed: int, **options: Any) -> Interval:
    (interval,) = bootstrap_intervals(np.array(values)[:, None], seed=seed, **options)
    return interval


def covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    repeats = [covers(repeat_interval(rng.normal(5, 2, 3).tolist()), 5) for _ in range(600)]
    assert 0.93 <= np.mean(repeats) <= 0.97
    samples = [
        covers(one_interval(rng.normal(5, 2, 60).tolist(), seed=n, resamples=500), 5)
        for n in range(600)
    ]
    assert 0.92 <= np.mean(samples) <= 0.97
    half = [
        covers(one_interval(rng.normal(5, 2, 60).tolist(), seed=n, confidence=0.5), 5)
        for n in range(300)
    ]
    assert 0.42 <= np.mean(half) <= 0.58


def test_figures_that_are_drawn_together_have_their_own_intervals() -> None:
    values = np.random.default_rng(2).normal(size=(40, 2))
    together = bootstrap_intervals(values, seed=1)
    for place in (0, 1):
        alone = one_interval(values[:, place].tolist(), seed=1)
        assert astuple(together[place]) == pytest.approx(astuple(alone))
    assert together[0] != together[1]


def test_bootstrap_follows_its_seed() -> None:
    values = [0.1, 0.9, 0.4, 0.3, 0.7]
    assert one_interval(values, seed=1) == one_interval(values, seed=1)
    assert one_interval(values, seed=1) != one_interval(values, seed=2)


def test_a_large_sample_is_drawn_in_blocks_to_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = one_interval(list(range(50)), seed=5)
    monkeypatch.setattr(statistics, "_DRAWS_AT_ONCE", 333)
    assert one_interval(list(range(50)), seed=5) == whole


def test_paired_bootstrap_sees_what_an_unpaired_look_would_not() -> None:
    rng = np.random.default_rng(11)
    first = rng.uniform(0, 1, 80)
    second = first + rng.normal(0.05, 0.05, 80)
    found = paired_bootstrap(first.tolist(), second.tolist(), seed=1)
    assert found.mean == pytest.approx(float((second - first).mean()))
    assert found.low is not None
    assert found.high is not None
    assert found.p_value is not None
    assert 0 < found.low < found.mean < found.high
    assert found.p_value == pytest.approx(1 / 2001)
    assert (found.changed, found.pairs) == (80, 80)
    swapped = paired_bootstrap(second.tolist(), first.tolist(), seed=1)
    assert swapped.mean == pytest.approx(-found.mean)
    assert swapped.p_value == found.p_value


def test_the_same_answers_twice_are_no_difference() -> None:
    same = paired_bootstrap([0.2, 0.4, 1.0], [0.2, 0.4, 1.0], seed=1)
    assert (same.mean, same.low, same.high, same.p_value, same.changed) == (0.0, 0.0, 0.0, 1.0, 0)


def test_p_value_without_a_difference_is_small_only_as_often_as_it_says() -> None:
    rng = np.random.default_rng(13)
    results = [
        paired_bootstrap(*rng.normal(0, 1, (2, 60)).tolist(), seed=n, resamples=400)
        for n in range(500)
    ]
    small = [result.p_value is not None and result.p_value <= 0.05 for result in results]
    assert 0.03 <= np.mean(small) <= 0.08


def test_nothing_is_dropped_silently() -> None:
    with pytest.raises(ValueError, match="there are 2 and 1 of them"):
        paired_bootstrap([1.0, 2.0], [1.0], seed=1)
    with pytest.raises(ValueError, match="no values"):
        one_interval([], seed=1)
    with pytest.raises(ValueError, match="no values"):
        repeat_interval([])
    with pytest.raises(ValueError, match="no values"):
        paired_bootstrap([], [], seed=1)
