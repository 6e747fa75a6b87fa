"""Confidence of forecasters whose calibration is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from medsweep.metrics import resampling
from medsweep.metrics.confidence import (
    BINS,
    COVERAGE,
    Confidence,
    area,
    area_interval,
    calibration_error,
    confidence_figures,
    probability_of,
    surest_first,
)
from medsweep.metrics.discrimination import FEWEST, auroc, auroc_interval, rank_correlation
from medsweep.metrics.statistics import Interval

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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert same.ranking.low is not None
    assert same.ranking.low < 0.4, "100 answers of one confidence do not show that it is chance"
    assert same.area.mean == pytest.approx(0.8)
    assert (surest_first(np.full(4, 0.5), RIGHT) == 0.75).all()


def test_answers_that_are_all_right_leave_a_calibration_error_uncertain() -> None:
    sure = np.full(100, 0.9)
    found = confidence_figures(sure, np.ones(100), seed=1, probabilities=True)
    assert found is not None
    assert found.ece is not None
    assert found.ece.mean == pytest.approx(0.1)
    # Of a true share of 0.97, one sample in 20 has no wrong answer: the error is 0.07 then.
    assert found.ece.low is not None
    assert 0 < found.ece.low < 0.07
    assert found.ece.high is not None
    assert found.ece.high > 0.11


def test_the_order_of_equally_sure_answers_changes_nothing() -> None:
    right = np.array([1.0] * 160 + [0.0] * 40)
    mixed = np.random.default_rng(3).permutation(right)
    ordered, shuffled = (
        confidence_figures(np.full(200, 0.8), each, seed=1, probabilities=True)
        for each in (right, mixed)
    )
    assert ordered is not None
    assert shuffled is not None
    assert ordered.ece is not None
    assert shuffled.ece is not None
    assert ordered.ece.mean == shuffled.ece.mean
    assert (ordered.covered, ordered.area.mean) == (shuffled.covered, shuffled.area.mean)
    # It says 0.8 of answers of which 0.8 are right.
    assert ordered.ece.mean == pytest.approx(0.0)
    # The 80 % that are answered are as uncertain as 160 answers are, though they share one mean.
    assert ordered.covered.mean == pytest.approx(0.8)
    assert ordered.covered.low == pytest.approx(0.730, abs=0.003), "exact interval of 128 in 160"
    assert ordered.covered.high == pytest.approx(0.859, abs=0.003)


def test_the_mean_counts_of_those_that_share_the_last_place() -> None:
    sure = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    found = confidence_figures(sure, np.array([1.0, 1, 0, 0, 0]), seed=1, probabilities=True)
    assert found is not None
    # Four of five: the first, and the three in the middle.
    assert found.covered.mean == pytest.approx(2 / 4)


# Share of right answers by what is confidently said of them, uniform between its ends.
FORECASTERS = {
    "calibrated": lambda sure: sure,
    "overconfident by 0.1": lambda sure: sure - 0.1,
    "overconfident by 0.2": lambda sure: sure - 0.2,
    "overconfident at the ends": lambda sure: 0.5 + (sure - 0.5) * 0.6,
}
SAMPLES = 120


def said(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return rng.uniform(0.3, 0.95, count)


def simulated(name: str, count: int, samples: int) -> tuple[list[Confidence], Confidence]:
    """Figures of samples of a forecaster's answers, and the true ones (without intervals)."""
    rng = np.random.default_rng(count)
    found = []
    for seed in range(samples):
        sure = said(rng, count)
        right = (rng.random(count) < FORECASTERS[name](sure)).astype(float)
        each = confidence_figures(sure, right, seed=seed, probabilities=True)
        assert each is not None
        found.append(each)
    sure = said(rng, 400_000)
    truth = FORECASTERS[name](sure)
    right = (rng.random(len(sure)) < truth).astype(float)
    return found, Confidence(
        questions=len(sure),
        ranking=Interval(auroc(sure, right), None, None),
        area=Interval(area(sure, truth), None, None),
        covered=Interval(surest_first(sure, truth)[: int(COVERAGE * len(sure))].mean(), None, None),
        ece=Interval(calibration_error(sure, truth, BINS), None, None),
        ece_if_calibrated=None,
        brier=Interval(float(((sure - right) ** 2).mean()), None, None),
    )


def coverage(found: list[Confidence], truth: Confidence, figure: str) -> float:
    true = getattr(truth, figure).mean
    bounds = [getattr(each, figure) for each in found]
    return float(np.mean([each.low - 1e-9 <= true <= each.high + 1e-9 for each in bounds]))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORECASTERS)
def test_intervals_cover_the_truth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_RESAMPLES", 200)
    found, truth = simulated(name, 100, SAMPLES)
    covered = {
        figure: coverage(found, truth, figure)
        for figure in ("ranking", "area", "covered", "ece", "brier")
    }
    # Over 120 samples a coverage of 0.95 varies by 0.02.
    assert {figure for figure, share in covered.items() if share < 0.89} == set(), covered


def test_what_cannot_be_told_is_none() -> None:
    nothing = np.array([])
    assert confidence_figures(nothing, nothing, seed=1, probabilities=True) is None
    perfect = confidence_figures(SURE, np.ones(4), seed=1, probabilities=True)
    assert perfect is not None
    assert perfect.ranking is None, "no answer is wrong"
    assert perfect.area.low is None, "too few for a bootstrap"
    assert auroc_interval(SURE, np.ones(4)) is None
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


@pytest.mark.parametrize("count", [50, 200])
def test_right_answers_alone_leave_the_area_uncertain(count: int) -> None:
    found = area_interval(np.linspace(0, 1, count), np.ones(count), seed=1)
    assert (found.mean, found.high) == (1, 1)
    assert found.low is not None
    # This many answers have no wrong one with a probability of 2.5 % if the share is as low.
    assert found.low == pytest.approx(0.025 ** (1 / count), abs=0.05)
    assert found.low < 0.025 ** (1 / count)
    wrong = area_interval(np.linspace(0, 1, count), np.zeros(count), seed=1)
    assert (wrong.low, wrong.high) == (0, pytest.approx(1 - found.low))
