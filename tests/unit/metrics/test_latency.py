import numpy as np
import pytest

from made_rows import summarise
from medsweep.metrics import latency
from medsweep.metrics.latency import RELATIVE_ERROR, LatencySketch, LatencySummary


def test_summary_of_few_samples_has_no_percentiles_and_ignores_null() -> None:
    assert summarise([1.0, None, 3.0]) == LatencySummary(2, 2.0, None, None, None, None, 3.0)
    assert summarise([None]) == LatencySummary(0, None, None, None, None, None, None)


def test_zero_is_a_sample() -> None:
    assert summarise([0.0, 4.0]) == LatencySummary(2, 2.0, None, None, None, None, 4.0)


def test_summary_fills_in_as_samples_grow() -> None:
    hundred = summarise(float(n) for n in range(101))
    assert (hundred.p50, hundred.p90, hundred.p95, hundred.p99) == (50.0, 90.0, None, None)
    many = summarise(float(n) for n in range(1001))
    assert (many.p95, many.p99, many.max) == (950.0, 990.0, 1000.0)


def test_few_values_are_summarised_exactly() -> None:
    values = np.random.default_rng(1).exponential(0.3, 700)
    found = summarise([*values[:300].tolist(), None, *values[300:].tolist()])
    quantiles = [float(np.quantile(values, p)) for p in (0.5, 0.9, 0.95, 0.99)]
    assert [found.p50, found.p90, found.p95, found.p99] == quantiles
    assert (found.samples, found.max) == (700, values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)


def test_many_values_are_summarised_within_the_stated_error(monkeypatch) -> None:
    monkeypatch.setattr(latency, "EXACT_VALUES", 1000)
    values = np.random.default_rng(2).lognormal(-3, 1.5, 20_000)
    found = LatencySketch()
    for block in np.split(values, 20):
        found.add(*block.tolist())
    assert not len(found._values)  # they are in bins
    for p in (0.5, 0.9, 0.95, 0.99):
        # Between two neighbours of the sample any value is as good.
        low, high = (np.quantile(values, p, method=m) for m in ("lower", "higher"))
        measured = found.quantile(p)
        assert low * (1 - 2 * RELATIVE_ERROR) <= measured <= high * (1 + 2 * RELATIVE_ERROR)
    summary = found.summary()
    assert summary.mean == pytest.approx(values.mean(), rel=1e-9)
    assert (summary.max, summary.samples) == (values.max(), 20_000)


def test_zeros_and_nothing(monkeypatch) -> None:
    empty = LatencySketch()
    empty.add(None)
    assert (empty.mean, empty.summary().max, empty.quantile(0.5)) == (None, None, None)
    monkeypatch.setattr(latency, "EXACT_VALUES", 5)
    assert summarise([0.0] * 20).p50 == 0.0


def test_percentiles_are_interpolated_linearly() -> None:
    assert summarise(float(n) for n in range(63)).p90 is None
    assert summarise(float(n) for n in range(64)).p90 == pytest.approx(56.7)  # 0.9 · 63


def test_percentiles_need_enough_requests() -> None:
    few = LatencySketch()
    for _ in range(63):
        few.add(1.0)
    assert (few.summary().p50, few.summary().p90) == (1.0, None)
    assert few.quantile(0.99) == 1.0


@pytest.mark.parametrize(
    ("requests", "p50", "p90"), [(10, None, None), (11, 1.0, None), (64, 1, 1)]
)
def test_values_of_one_request_count_once_for_percentiles(requests: int, p50, p90) -> None:
    """The 700 gaps of an answer depend on each other: ten answers have no median gap."""
    gaps = LatencySketch()
    for _ in range(requests):
        gaps.add(*[1.0] * 700)
    summary = gaps.summary()
    assert summary.samples == 700 * requests
    assert (summary.p50, summary.p90) == (p50, p90)
