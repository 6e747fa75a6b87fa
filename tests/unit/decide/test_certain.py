"""Bounds that are met or missed for certain are those that `recommend` calls so."""

import random

import pytest
from scipy import stats

from made_rows import repeats
from medsweep.decide.candidates import Candidate, candidates
from medsweep.decide.certain import certain_bounds
from medsweep.decide.limits import make_limits
from medsweep.decide.recommend import recommend

TTFT = "max-p95-ttft"


def measured(*values: float, **more: object) -> Candidate:
    [candidate] = candidates(repeats("ttft_p95_s", values, ok=100, **more))
    return candidate


def test_they_are_the_ends_of_student_s_interval() -> None:
    bounds = certain_bounds(measured(0.9, 1.0, 1.1), TTFT)
    error = stats.t.ppf(0.95, 2) * 0.1 / 3**0.5
    assert bounds.value == pytest.approx(1.0)
    assert bounds.met == pytest.approx(1.0 + error)
    assert bounds.missed == pytest.approx(1.0 - error)


def test_with_two_limits_each_needs_half_of_the_doubt() -> None:
    bounds = certain_bounds(measured(0.9, 1.0, 1.1), TTFT, limits=2)
    assert bounds.met == pytest.approx(1.0 + stats.t.ppf(0.975, 2) * 0.1 / 3**0.5)


def test_recommend_says_the_same_on_either_side() -> None:
    draw = random.Random(0)
    for _ in range(20):
        candidate = measured(*(draw.uniform(0.5, 1.5) for _ in range(draw.choice([2, 3, 5]))))
        bounds = certain_bounds(candidate, TTFT)
        assert bounds.met is not None
        assert bounds.missed is not None
        for bound, met, missed in (
            (bounds.met * 1.001, True, False),
            (bounds.met * 0.999, False, False),
            (bounds.missed - abs(bounds.missed) * 0.001, False, True),
        ):
            [assessment] = recommend([candidate], make_limits({TTFT: bound}))
            assert (assessment.is_met, assessment.is_missed) == (met, missed)


def test_a_lower_limit_is_met_below_the_figure() -> None:
    [candidate] = candidates(repeats("token_f1", [0.3], token_f1_low=0.25, token_f1_high=0.35))
    bounds = certain_bounds(candidate, "min-token-f1")
    error = 0.1 / (2 * 1.96)
    assert bounds.met == pytest.approx(0.3 - stats.norm.ppf(0.95) * error, abs=1e-4)
    assert bounds.missed == pytest.approx(0.3 + stats.norm.ppf(0.95) * error, abs=1e-4)


def test_nothing_is_certain_of_one_repeat_or_of_nothing() -> None:
    once = certain_bounds(measured(1.0), TTFT)
    assert (once.met, once.missed) == (None, None)
    assert certain_bounds(measured(1.0), "max-usd-per-1k").value is None
    # A tenth of the requests failed, and counts as late: no p95 is met.
    failing = certain_bounds(measured(0.9, 1.0, 1.1, failed=10), TTFT)
    assert failing.met is None
