"""The client's own error before and after the loads of a batch of cells."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from faked_sweep import HERE, FakedSweep, sweep
from medsweep.errors import StageError
from medsweep.loadgen.calibration import Calibration
from medsweep.sweep import calibration, run


def test_the_client_is_calibrated_before_and_after_each_batch_of_cells(ran: FakedSweep) -> None:
    """TTFT is 0.1 s: an error of 1 ms is not marked, one of 20 ms after the first batch is."""
    ran.client_errors_s = iter([0.001, 0.020, 0.002, 0.003])
    run.run_sweep(
        sweep(cells_together=1, cells=["distilgpt2@1xv100-here", "distilgpt2@1xa100-1cpu"]), ran.out
    )
    assert [len(batch) for batch in ran.deployed] == [1, 1]
    order = [cell for batch in ran.deployed for cell in batch]
    first, second = ran.rows(order[0]), ran.rows(order[1])
    batches = [{row["batch"] for row in rows} for rows in (first, second)]
    assert [len(each) for each in batches] == [1, 1]
    assert max(batches[0]) < min(batches[1])  # in order of time
    for row in first:
        assert (row["client_ttft_bias_s"], row["calibrations"]) == (0.020, 2)
        assert "ttft_mean_s" in row["client_error_figures"]
        assert "e2e_mean_s" not in row["client_error_figures"]
    for row in second:
        assert (row["client_ttft_bias_s"], row["calibrations"]) == (0.003, 2)
        assert row["client_error_figures"] is None


def test_a_sweep_goes_on_without_calibration(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(load: object, levels: Sequence[int]) -> list[Calibration]:
        raise StageError("calibration: the mock server did not start")

    monkeypatch.setattr(calibration, "calibrate_fleet", fail)
    assert run.run_sweep(sweep(), ran.out).states["ok"] == 2
    row = ran.rows(HERE)[0]
    assert (row["client_ttft_bias_s"], row["calibrations"], row["client_limited"]) == (None,) * 3


def test_the_client_is_calibrated_around_each_deployment_of_a_cell(ran: FakedSweep) -> None:
    """Two deployments of one repeat; only after the first the client's error was large."""
    ran.client_errors_s = iter([0.001, 0.020, 0.002, 0.003])
    load = {
        "points": [{"concurrency": 1, "requests": 6}],
        "repeats": 2,
        "deployments": 2,
        "max_tokens": 8,
    }
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"], load=load), ran.out)
    first, second = ran.rows(HERE)
    assert (first["deployment"], second["deployment"]) == (1, 2)
    assert [row["client_ttft_bias_s"] for row in (first, second)] == [0.020, 0.003]
    assert [row["calibrations"] for row in (first, second)] == [2, 2]
    assert first["batch"] < second["batch"]
    assert second["client_error_figures"] is None
