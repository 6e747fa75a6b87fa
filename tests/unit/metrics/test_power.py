import numpy as np
import pytest
from scipy import stats

from medsweep.metrics.power import smallest_visible


@pytest.mark.parametrize(("repeats", "alpha"), [(3, 0.05), (4, 0.01), (10, 0.05), (10, 0.001)])
def test_the_smallest_visible_difference_is_found_in_80_percent(repeats: int, alpha: float) -> None:
    """Student's t of two samples of unit standard deviation that lie so far apart."""
    apart = smallest_visible((2 / repeats) ** 0.5, 2 * repeats - 2, alpha)
    rng = np.random.default_rng(repeats)
    first, second = rng.normal(0, 1, (repeats, 4000)), rng.normal(apart, 1, (repeats, 4000))
    found = stats.ttest_ind(first, second).pvalue <= alpha
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_of_a_large_sample_it_is_the_textbook_figure() -> None:
    # 1.960 + 0.842 standard errors
    assert smallest_visible(2.0, 1e6, 0.05) == pytest.approx(2 * 2.8016, rel=1e-3)
    assert smallest_visible(2.0, None, 0.05) == pytest.approx(2 * 2.8016, rel=1e-4)
    assert smallest_visible(0.0, 4, 0.05) == 0.0
