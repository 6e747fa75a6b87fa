"""Confidence of forecasters whose calibration is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from medsweep.metrics.confidence import (
    FEWEST,
    auroc,
    calibration_error,
    confidence_figures,
    probability_of,
    rank_correlation,
    surest_first,
)

SURE = np.array([0.9, 0.8, 0.7, 0.6])
RIGHT = np.array([1.0, 0.0, 1.0, 1.0])


def forecaster(gap: float, count: int = 4000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One that says more than the true probability, which lies between 0.3 and 0.8, by a gap."""
    rng = np.random.default_rng(7)
    truth = rng.uniform(0.3, 0.8, count)
    return truth + gap, (rng.random(count) < truth).astype(float)


def test_figures_of_four_answers_by_hand() -> None:
    found = confidence_figures(SURE, RIGHT, seed=1, probabilities=True)
    assert found is not None
    assert found.ranking is not None
    assert found.ranking.mean == pytest.approx(1 / 3), "of three right ones, one is above 0.8"
    assert found.area.mean == pytest.approx((1 + 1 / 2 + 2 / 3 + 3 / 4) / 4)
    assert found.covered.mean == 3 / 4, "80 % of four are all"
    assert found.brier is not None
    assert found.brier.mean == pytest.approx((0.01 + 0.64 + 0.09 + 0.16) / 4)
    assert found.ece is None, "too few"
    # Bins of 0.6 and 0.7, and of 0.8 and 0.9.
    assert calibration_error(SURE, RIGHT, bins=2) == pytest.approx((0.35 + 0.35) / 2)


def test_a_calibrated_forecaster_errs_as_much_as_its_bins_do_by_chance() -> None:
    sure, right = forecaster(0.0)
    found = confidence_figures(sure, right, seed=1, probabilities=True)
    assert found is not None
    assert found.ece is not None
    assert found.ece_if_calibrated is not None
    # Of a bin with n answers the share differs from p by sqrt(2 / pi) of its standard deviation.
    by_formula = np.sqrt(2 / np.pi) * np.mean(np.sqrt(sure * (1 - sure) / (len(sure) / 10)))
    assert found.ece_if_calibrated == pytest.approx(by_formula, rel=0.1)
    assert 0.4 < found.ece.mean / by_formula < 1.8
    assert found.ece.low is not None
    assert found.ece.low < 0.1 * by_formula, "no error is likely"
    assert found.brier is not None
    assert found.brier.mean == pytest.approx(np.mean(sure * (1 - sure)), abs=0.01)


def test_an_overconfident_one_errs_by_its_gap() -> None:
    found = confidence_figures(*forecaster(0.2), seed=1, probabilities=True)
    assert found is not None
    assert found.ece is not None
    assert found.ece.low is not None
    assert found.ece.high is not None
    assert found.ece.low < 0.2 < found.ece.high
    assert found.ece.high - found.ece.low < 0.05
    calibrated = confidence_figures(*forecaster(0.0), seed=1, probabilities=True)
    assert calibrated is not None
    assert calibrated.ranking == found.ranking, "a shift changes no order"
    assert (calibrated.covered, calibrated.area) == (found.covered, found.area)


def test_confidence_that_tells_everything_and_nothing() -> None:
    right = np.array([1.0] * 80 + [0.0] * 20)
    knows = confidence_figures(np.linspace(1, 0, 100), right, seed=1, probabilities=True)
    assert knows is not None
    assert knows.ranking is not None
    assert (knows.ranking.mean, knows.covered.mean) == (1.0, 1.0)
    assert knows.covered.high == 1.0
    same = confidence_figures(np.full(100, 0.8), right, seed=1, probabilities=True)
    assert same is not None
    assert same.ranking is not None
    assert (same.ranking.mean, same.covered.mean) == (0.5, pytest.approx(0.8))
    assert same.area.mean == pytest.approx(0.8)
    assert (surest_first(np.full(4, 0.5), RIGHT) == 0.75).all()


def test_what_cannot_be_told_is_none() -> None:
    nothing = np.array([])
    assert confidence_figures(nothing, nothing, seed=1, probabilities=True) is None
    perfect = confidence_figures(SURE, np.ones(4), seed=1, probabilities=True)
    assert perfect is not None
    assert perfect.ranking is None, "no answer is wrong"
    assert perfect.area.low is None, "too few for a bootstrap"
    graded = confidence_figures(-SURE, RIGHT / 2, seed=1, probabilities=False)
    assert graded is not None
    assert (graded.ece, graded.brier, graded.ece_if_calibrated) == (None, None, None)
    assert np.isnan(rank_correlation(np.ones(4), RIGHT))
    assert np.isnan(auroc(SURE, np.zeros(4)))


def test_graded_answers_are_ranked() -> None:
    quality = np.linspace(0, 1, FEWEST)
    found = confidence_figures(quality**3, quality, seed=1, probabilities=False)
    assert found is not None
    assert found.ranking is not None
    assert found.ranking.mean == pytest.approx(1.0)
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(
        0.8
    )


def test_probability_of_an_option() -> None:
    assert probability_of([np.log(0.2), np.log(0.6)], 1) == pytest.approx(0.75)
    assert probability_of([-2000.0, 0.0], 0) == pytest.approx(0.0)
