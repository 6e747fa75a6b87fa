import numpy as np
import pytest

from medsweep.loadgen import reservoir as sample
from medsweep.loadgen.reservoir import RELATIVE_ERROR, Sample
from medsweep.metrics.latency import summarise


def test_few_values_are_summarised_exactly() -> None:
    values = np.random.default_rng(1).exponential(0.3, 700).tolist()
    found = Sample()
    found.add([*values[:300], None])
    found.add(values[300:])
    exact = summarise(values)
    for name in ("samples", "p50", "p90", "p95", "p99", "max"):
        assert getattr(found.summary(), name) == getattr(exact, name), name
    assert found.summary().mean == pytest.approx(exact.mean, rel=1e-12)


def test_many_values_are_summarised_within_the_stated_error(monkeypatch) -> None:
    monkeypatch.setattr(sample, "EXACT_VALUES", 1000)
    values = np.random.default_rng(2).lognormal(-3, 1.5, 20_000)
    found = Sample()
    for block in np.split(values, 20):
        found.add(block.tolist())
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
    empty = Sample()
    empty.add([None])
    assert (empty.summary().mean, empty.summary().max, empty.quantile(0.5)) == (None, None, None)
    monkeypatch.setattr(sample, "EXACT_VALUES", 5)
    zeros = Sample()
    zeros.add([0.0] * 20)
    assert zeros.summary().p50 == 0.0


def test_percentiles_keep_their_floors() -> None:
    few = Sample()
    few.add([1.0] * 63)
    assert (few.summary().p50, few.summary().p90) == (1.0, None)
    assert few.quantile(0.99) == 1.0
