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
    share_difference,
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


def test_fisher_by_hand() -> None:
    # all of three against none of three: 2 of the 20 ways to choose three of six
    assert share_difference(3, 3, 0, 3) == pytest.approx(2 / 20)
    assert share_difference(0, 10, 0, 10) == 1.0


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
