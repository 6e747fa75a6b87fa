"""Drift between batches of cells, known because it is put into the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from made_rows import row
from medsweep.comparison.batches import BatchDrift, batch_drift

LEVELS_S = {1: 0.001, 8: 0.004}
"""Time to first token of the null model, by concurrency."""


def sweep(
    sizes: list[int], drift: list[float], seed: int, noise: float = 0.02
) -> list[dict[str, Any]]:
    """Cells in batches of these sizes, each batch slower than the first by a share.

    Two repeats at two load points; the null model's figures vary by deployment and by measurement.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for batch, (size, slower) in enumerate(zip(sizes, drift, strict=True)):
        for cell in range(size):
            own = 1 + slower + noise * rng.standard_normal()
            for concurrency, level_s in LEVELS_S.items():
                overhead_s = level_s * own * (1 + noise / 2 * rng.standard_normal())
                rows += [
                    row(
                        key=f"k{batch}-{cell}",
                        batch=f"2026-01-01T0{batch}:00",
                        load_point=f"c{concurrency}",
                        repeat=repeat,
                        overhead_ttft_s=overhead_s,
                        overhead_concurrency=concurrency,
                        # Cells differ in their own speed by far more than the machine drifts.
                        e2e_mean_s=float(rng.uniform(1, 9)),
                    )
                    for repeat in (1, 2)
                ]
    return rows


@pytest.mark.parametrize("sizes", [[4, 4], [4, 4, 4], [5, 2, 1]])
def test_without_drift_one_of_twenty_sweeps_shows_some(sizes: list[int]) -> None:
    seen = [batch_drift(sweep(sizes, [0.0] * len(sizes), seed)) for seed in range(300)]
    shares = [each.is_clear for each in seen if each is not None]
    assert len(shares) == 300
    assert 0 < sum(shares) / 300 <= 0.085  # two standard errors above 6 %


def test_a_drift_of_a_tenth_is_seen_and_measured() -> None:
    seen = [batch_drift(sweep([4, 4, 4], [0.0, 0.05, 0.10], seed)) for seed in range(100)]
    assert sum(each is not None and each.is_clear for each in seen) >= 95
    changes = [each.change for each in seen if each is not None and each.change is not None]
    assert np.mean(changes) == pytest.approx(0.10, abs=0.015)


def test_a_cell_in_each_batch_cannot_be_told_from_drift() -> None:
    """The cell and the batch are the same thing: a clear difference is of either."""
    found = batch_drift(sweep([1, 1, 1], [0.0, 0.3, 0.6], 1))
    assert found is not None
    assert (found.batches, found.p_value, found.is_clear) == (3, None, False)
    assert found.change == pytest.approx(0.6, abs=0.1)
    assert "too few cells to tell" in found.sentence


def spread_over_batches(slower: float, seed: int) -> list[dict[str, Any]]:
    """Eight cells, a repeat in each of two batches; the second takes longer by a share."""
    rng = np.random.default_rng(seed)
    return [
        row(key=f"k{cell}", batch=f"b{batch}", repeat=batch, e2e_mean_s=own * factor * noise)
        for cell in range(8)
        for own in [float(rng.uniform(1, 9))]
        for batch, factor in ((1, 1.0), (2, 1 + slower))
        for noise in [float(1 + 0.01 * rng.standard_normal())]
    ]


def test_cells_that_were_measured_in_several_batches_show_it_themselves() -> None:
    found = batch_drift(spread_over_batches(0.08, 3))
    assert found is not None
    assert found.is_clear
    assert found.change == pytest.approx(0.08, abs=0.015)
    steady = [batch_drift(spread_over_batches(0.0, seed)) for seed in range(300)]
    assert 0 < sum(each is not None and each.is_clear for each in steady) / 300 <= 0.085


def test_one_batch_has_no_drift_and_without_reference_it_is_not_known() -> None:
    assert batch_drift(sweep([4], [0.0], 1)) is None
    assert batch_drift([row(batch=None), row()]) is None
    alone = [row(key="a", batch="1", e2e_mean_s=1.0), row(key="b", batch="2", e2e_mean_s=2.0)]
    assert batch_drift(alone) == BatchDrift(2, None, None)
    assert "not known" in BatchDrift(2, None, None).sentence


def test_a_tiny_p_value_is_less_than_a_bound() -> None:
    assert "0.8 % (p < 0.0001): times" in BatchDrift(3, 0.008, 1.6e-30).sentence
    assert "0.8 % (p = 0.0045): times" in BatchDrift(3, 0.008, 0.0045).sentence
    assert "not beyond noise (p = 0.12)" in BatchDrift(3, 0.008, 0.12).sentence
