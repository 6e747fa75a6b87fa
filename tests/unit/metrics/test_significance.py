import math

import numpy as np
import pytest
from scipy import stats

from medsweep.metrics.significance import (
    Difference,
    coefficient_of_variation,
    drift,
    holm,
    mcnemar,
    permutation_p,
    unpaired_difference,
)


def test_welch_by_hand() -> None:
    # variances 1 and 4, n = 3: t = 4 / sqrt(5/3), df = (5/3)^2 / ((1/9 + 16/9) / 2) = 50/17
    found = unpaired_difference([1.0, 2.0, 3.0], [4.0, 6.0, 8.0])
    assert found.mean == 4.0
    assert found.p_value == pytest.approx(2 * stats.t.sf(4 / math.sqrt(5 / 3), 50 / 17))
    assert found.low is not None
    assert found.high is not None
    assert (found.low + found.high) / 2 == pytest.approx(4.0)
    assert found.low < 0 < found.high


def test_samples_that_no_test_can_take() -> None:
    assert unpaired_difference([1.0], [2.0, 3.0]) == Difference(1.5, None, None, None)
    assert unpaired_difference([1.0, 1.0], [1.0, 1.0]).p_value == 1.0
    assert unpaired_difference([1.0, 1.0], [2.0, 2.0]).p_value == 0.0
    with pytest.raises(ValueError, match="no values"):
        unpaired_difference([], [1.0])


def test_mcnemar_by_hand() -> None:
    # six turned right, none wrong: 2 · (1/2)^6
    assert mcnemar([False] * 6 + [True] * 4, [True] * 10) == pytest.approx(2 / 64)
    assert mcnemar([True, False], [False, True]) == 1.0
    assert mcnemar([True, False], [True, False]) == 1.0
    with pytest.raises(ValueError, match="argument 2 is longer"):
        mcnemar([True], [True, False])


def test_permutation_by_hand() -> None:
    # Two of the 70 ways to choose four of eight are as extreme: this one and its mirror image.
    assert permutation_p([0.0] * 4, [0.1, 0.2, 0.3, 0.4]) == pytest.approx(2 / 70)
    # One failing repeat of eight is on one side or on the other in every split.
    assert permutation_p([0.0] * 4, [0.0, 0.0, 0.0, 0.4]) == 1.0
    # Three against three: 2 of 20 at best. Unequal samples have no mirror image: 1 of 35.
    assert permutation_p([0.0] * 3, [1.0] * 3) is None
    assert permutation_p([0.0] * 3, [1.0] * 4) == pytest.approx(1 / 35)


def test_permutation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    for sizes in ((4, 4), (6, 6), (12, 12)):
        first, second = rng.gamma(1.0, size=sizes[0]), rng.gamma(1.0, size=sizes[1]) + 0.5
        reference = stats.permutation_test(
            (first, second),
            lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)),
            vectorized=True,
            alternative="greater",
            n_resamples=20_000,
            random_state=0,
        )
        found = permutation_p(first.tolist(), second.tolist())
        assert found == pytest.approx(reference.pvalue, abs=0.02 if sizes[0] == 12 else 1e-9)


def test_failures_that_come_in_bursts_are_no_difference() -> None:
    """A/A: each repeat has its own rate of failures, as of a server that stalls now and then."""
    rng = np.random.default_rng(11)
    for repeats in (4, 5, 8):
        false = 0
        for _ in range(1000):
            shares = rng.binomial(200, rng.beta(0.3, 3.0, size=2 * repeats)) / 200
            p_value = permutation_p(shares[:repeats].tolist(), shares[repeats:].tolist())
            assert p_value is not None
            false += p_value <= 0.05
        assert false <= 60, repeats


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_drift_sees_a_trend_and_not_noise() -> None:
    rng = np.random.default_rng(4)
    rising = drift((10 + np.linspace(0, 1, 20) + rng.normal(0, 0.05, 20)).tolist())
    assert rising is not None
    assert rising.change == pytest.approx(1 / 10.5, rel=0.1)
    assert rising.p_value < 1e-6
    small = [
        found.p_value <= 0.05
        for _ in range(200)
        if (found := drift(rng.normal(10, 1, 12).tolist())) is not None
    ]
    assert len(small) == 200
    assert 0.01 <= np.mean(small) <= 0.09
    assert drift([1.0, 2.0, 3.0, 4.0]) is None
    still = drift([2.0] * 6)
    assert still is not None
    assert (still.change, still.p_value) == (pytest.approx(0.0), 1.0)


def test_coefficient_of_variation() -> None:
    assert coefficient_of_variation([1.0, 2.0, 3.0]) == pytest.approx(0.5)
    assert coefficient_of_variation([1.0]) is None
    assert coefficient_of_variation([-1.0, 1.0]) is None
