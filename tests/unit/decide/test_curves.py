"""The curve of a limit gives the probability that `recommend` gives."""

import random
from bisect import bisect_right

import pytest
from scipy import stats

from made_rows import repeats
from medsweep.decide.candidates import Candidate, candidates
from medsweep.decide.curves import ProbabilityCurve, probability_curve
from medsweep.decide.limit_check import check_limit
from medsweep.decide.limits import make_limits

TTFT = "max-p95-ttft"


def measured(*values: float, **more: object) -> Candidate:
    [candidate] = candidates(repeats("ttft_p95_s", values, ok=100, **more))
    return candidate


def read(curve: ProbabilityCurve, laxness: float) -> float | None:
    """The probability at a bound, as the page's script reads it."""
    at = bisect_right(curve.bounds, laxness) - 1
    if at < 0 or at == len(curve.bounds) - 1:
        return curve.probabilities[max(at, 0)]
    (left, right), (low, high) = curve.bounds[at : at + 2], curve.probabilities[at : at + 2]
    if low is None or high is None:
        return None
    return low + (high - low) * (laxness - left) / (right - left)


def test_it_is_student_s_distribution_over_the_repeats() -> None:
    curve = probability_curve(measured(0.9, 1.0, 1.1), TTFT)
    assert curve is not None
    error = 0.1 / 3**0.5
    for probability in (0.05, 0.5, 0.95, 0.975, 0.99):
        bound = 1.0 + stats.t.ppf(probability, 2) * error
        assert read(curve, bound) == pytest.approx(probability, abs=2e-4)


def test_recommend_says_the_same_at_any_bound() -> None:
    draw = random.Random(0)
    checked = 0
    for _ in range(30):
        failed = draw.choice([0, 0, 1, 3])
        values = [draw.uniform(0.5, 1.5) for _ in range(draw.choice([2, 3, 5]))]
        candidate = measured(*values, failed=failed, ttft_p99_s=1.7, ttft_max_s=2.0)
        curve = probability_curve(candidate, TTFT)
        assert curve is not None
        for _ in range(20):
            bound = draw.uniform(0.1, 3.0)
            told = check_limit(candidate, make_limits({TTFT: bound})[0]).probability
            found = read(curve, bound)
            assert (found is None) == (told is None)
            if told is not None and found is not None:
                # Linear pieces are exact where a decision turns and rough in the middle.
                assert found == pytest.approx(told, abs=0.003 if told > 0.94 else 0.03)
                checked += 1
    assert checked > 300


def test_a_lower_limit_is_met_below_the_figure() -> None:
    [candidate] = candidates(repeats("token_f1", [0.3], token_f1_low=0.25, token_f1_high=0.35))
    curve = probability_curve(candidate, "min-token-f1")
    assert curve is not None
    bound = 0.3 - stats.norm.ppf(0.95) * 0.1 / (2 * 1.96)
    assert read(curve, -bound) == pytest.approx(0.95, abs=1e-4)
    assert read(curve, -0.3) == pytest.approx(0.5, abs=1e-3)
    assert read(curve, -0.9) == pytest.approx(0.0, abs=1e-6)


def test_repeats_that_agree_meet_a_limit_from_their_value_on() -> None:
    curve = probability_curve(measured(1.0, 1.0, 1.0), TTFT)
    assert curve is not None
    assert (read(curve, 0.999), read(curve, 1.0), read(curve, 2.0)) == (0.0, 1.0, 1.0)


def test_nothing_is_known_of_one_repeat_or_of_nothing() -> None:
    assert probability_curve(measured(1.0), TTFT) is None
    assert probability_curve(measured(1.0), "max-usd-per-1k") is None


def test_a_tenth_of_failures_meets_no_p95() -> None:
    # They count as late.
    curve = probability_curve(measured(0.9, 1.0, 1.1, failed=10), TTFT)
    assert curve is not None
    assert set(curve.probabilities) == {0.0}
