"""Rank statistics of answers whose order is known, and intervals against known areas."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from medsweep.metrics import resampling
from medsweep.metrics.discrimination import (
    auroc,
    auroc_interval,
    correlation_interval,
    rank_correlation,
    score_bounds,
)

SAMPLES = 120
AREA_SAMPLES = 600


def test_the_interval_of_an_area_equals_another_program_s() -> None:
    """The R package SingleCaseES has Newcombe's method 5 too (its NAP is this area)."""
    sure = np.array([28.0, 25, 24, 27, 30, 30, 29, 20, 20, 26, 25, 22, 23])
    right = np.array([1.0] * 7 + [0.0] * 6)
    measured = auroc(sure, right)
    assert measured == pytest.approx(0.9166666667)
    assert score_bounds(measured, 7, 6) == pytest.approx((0.5973193600, 0.9859976894), abs=1e-4)
    found = auroc_interval(sure, right)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    # Variances that need no model can only widen it.
    assert found.low <= score_bounds(measured, 7, 6)[0] < measured < 0.985 < found.high < 1


@pytest.mark.parametrize(
    ("positive", "negative"), [(50, 50), (80, 20), (20, 80), (90, 10), (10, 10), (1000, 50)]
)
def test_perfect_separation_leaves_the_area_uncertain(positive: int, negative: int) -> None:
    right = np.array([1.0] * positive + [0.0] * negative)
    found = auroc_interval(np.linspace(1, 0, len(right)), right)
    assert found is not None
    assert (found.mean, found.high) == (1.0, 1.0)
    # DeLong's variance with the two more answers, and what the model has for the same area.
    pairs, more = positive * negative, (positive + negative) / 2
    delong = (positive**2 + negative**2) / ((positive + 1) * (negative + 1)) ** 2
    area = pairs / ((positive + 1) * (negative + 1))
    shape = (1 + 2 * area - 2 * area**2) / (2 + area - area**2)
    model = area * (1 - area) * (1 + more * shape) / ((positive + 1) * (negative + 1))
    # With 1 as the measured area, the equation for the low end is one of third degree.
    reach = 1.96**2 * max(delong / model, 1.0)
    cubic = [
        pairs + reach * (2 * more - 1),
        -2 * pairs - reach * (2 * more - 1),
        -pairs - reach * (1 + more),
        2 * pairs,
    ]
    [low] = [root.real for root in np.roots(cubic) if abs(root.imag) < 1e-9 and 0 < root.real < 1]
    assert found.low == pytest.approx(low, abs=1e-6)
    # If wrong answers were surer than all right ones in a share of cases, this number of answers
    # would have none of them with a probability of 2.5 %: the end of the exact interval.
    assert found.low == pytest.approx(0.025 ** (1 / min(positive, negative)), abs=0.02)
    turned = auroc_interval(np.linspace(0, 1, len(right)), right)
    assert turned is not None
    assert (turned.mean, turned.low) == (0.0, 0.0)
    assert turned.high == pytest.approx(1 - found.low)


@pytest.mark.slow
@pytest.mark.parametrize(("positive", "negative"), [(50, 50), (80, 20), (90, 10)])
@pytest.mark.parametrize("kind", ["0.6", "0.8", "0.95", "a fifth is surely wrong"])
def test_intervals_of_an_area_cover_it(kind: str, positive: int, negative: int) -> None:
    """Two normal distributions with this area, and wrong answers that are sometimes the surest."""
    rng = np.random.default_rng(positive)
    right = np.array([1.0] * positive + [0.0] * negative)
    surely_wrong = kind.startswith("a fifth")
    area = 0.8 if surely_wrong else float(kind)
    # The difference of two unit normal variables has a standard deviation of sqrt(2).
    apart = np.sqrt(2) * norm.ppf(area)
    covered = 0
    widths = []
    for _ in range(AREA_SAMPLES):
        if surely_wrong:
            unsure = np.where(rng.random(negative) < 0.2, 2.0, -1.0)
            sure = np.concatenate([rng.random(positive), unsure])
        else:
            sure = rng.normal(right * apart)
        found = auroc_interval(sure, right)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.mean <= found.high <= 1
        covered += found.low <= area <= found.high
        widths.append(found.high - found.low)
    # Over 600 samples a coverage of 0.95 varies by 0.009.
    assert covered / AREA_SAMPLES >= 0.92
    if kind == "0.8" and negative == 50:
        # Hanley and McNeil's standard error at this area is 0.044: no method is much shorter.
        assert np.mean(widths) < 1.25 * 2 * 1.96 * 0.044


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal 0.5", "normal 0.99", "some reversed", "many equal"])
def test_the_interval_of_a_rank_correlation_covers_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "_RESAMPLES", 200)
    rng = np.random.default_rng(3)

    def drawn(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sure, noise = rng.normal(size=(2, count))
        if name.startswith("normal"):
            share = float(name.split()[1])
            return sure, share * sure + np.sqrt(1 - share**2) * noise
        if name == "many equal":
            return sure, np.clip(0.5 * sure + noise - 0.5, 0, 1)
        return sure, np.where(rng.random(count) < 0.05, -sure, sure)

    true = rank_correlation(*drawn(50_000))
    covered = 0
    for _ in range(SAMPLES):
        found = correlation_interval(*drawn(50), seed=1)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= true <= found.high
    # Over 120 samples a coverage of 0.95 varies by 0.02.
    assert covered >= 0.89 * SAMPLES


def test_perfect_order_leaves_the_rank_correlation_uncertain() -> None:
    sure = np.arange(50.0)
    found = correlation_interval(sure, sure, seed=1)
    turned = correlation_interval(sure, -sure, seed=1)
    assert found is not None
    assert turned is not None
    assert (found.mean, found.high) == pytest.approx((1, 1))
    # One question more, in the wrong order: Spearman's formula, then Bonett and Wright's error.
    with_one_more = 1 - 6 * (50 * 51) / (51 * (51**2 - 1))
    error = np.sqrt((1 + with_one_more**2 / 2) / (51 - 3))
    assert found.low == pytest.approx(np.tanh(np.arctanh(with_one_more) - 1.96 * error))
    assert (turned.low, turned.high) == pytest.approx((-1, -found.low))
    assert correlation_interval(sure, np.ones(50), seed=1) is None
    few = correlation_interval(sure[:9], sure[:9], seed=1)
    assert few is not None
    assert (few.low, few.high) == (None, None)
