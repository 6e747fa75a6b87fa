import numpy as np
import pytest
from scipy import stats

from medsweep.loadgen.growth import Growth


def slope_of(due_s: np.ndarray, took_s: np.ndarray) -> float | None:
    growth = Growth()
    for due, took in zip(due_s.tolist(), took_s.tolist(), strict=True):
        growth.add(due, took)
    return growth.slope


def test_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    due_s = 1e6 + np.sort(rng.uniform(0, 60, 300))
    took_s = 2.0 + 0.25 * (due_s - due_s[0]) + rng.normal(0, 0.5, 300)
    assert slope_of(due_s, took_s) == pytest.approx(stats.linregress(due_s, took_s).slope)


def test_queue_of_known_growth() -> None:
    # 45 a second for a server that manages 40: a second of load makes an eighth of waiting.
    due_s = np.arange(90) / 45
    assert slope_of(due_s, np.arange(1, 91) / 40 - due_s) == pytest.approx(45 / 40 - 1)


def test_answers_of_unlike_length_are_no_trend() -> None:
    rng = np.random.default_rng(5)
    due_s = np.arange(100) / 10
    seen = [slope_of(due_s, rng.exponential(2.0, 100)) for _ in range(400)]
    # One-sided, two standard errors: 2.3 % by chance.
    assert sum(slope is not None for slope in seen) <= 20


@pytest.mark.parametrize(
    ("due_s", "took_s"),
    [
        (np.arange(9.0), np.arange(9.0)),  # too few
        (np.zeros(20), np.arange(20.0)),  # all at one moment
        (np.arange(20.0), np.arange(20.0) * 0.04),  # too little
        (np.arange(20.0), -np.arange(20.0)),  # the better the longer
        (np.arange(20.0), np.ones(20)),
    ],
)
def test_nothing_to_say(due_s: np.ndarray, took_s: np.ndarray) -> None:
    assert slope_of(due_s, took_s) is None


def test_closed_loop_has_no_due_times() -> None:
    growth = Growth()
    for took_s in range(30):
        growth.add(None, float(took_s))
    assert growth.slope is None
