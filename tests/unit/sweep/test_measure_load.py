"""What is measured of one cell beside its load: the server's overhead and the cold start."""

from __future__ import annotations

import pytest

from faked_sweep import HERE, THERE, FakedSweep, sweep
from medsweep.sweep import run


def test_the_overhead_is_that_of_each_load_point_s_concurrency(ran: FakedSweep) -> None:
    """At 10 requests a second that take 0.3 s, 3 are in flight: measured at 4."""
    points = [{"concurrency": 8, "requests": 12}, {"rate": 10.0, "requests": 12}]
    load = {"points": points, "repeats": 2, "max_tokens": 8}
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"], load=load), ran.out)
    found = {
        (
            row["load_point"],
            row["overhead_concurrency"],
            round(row["overhead_ttft_s"], 6),
            round(row["overhead_tpot_s"], 6),
        )
        for row in ran.rows(HERE)
    }
    assert found == {("c8", 8, 0.008, 0.004), ("r10-constant", 4, 0.004, 0.002)}


def test_the_cold_start_is_each_engine_s_own(ran: FakedSweep) -> None:
    """Engines run 2 and 3 s after they were requested; each answers first within 0.3 s."""
    run.run_sweep(
        sweep(cells=[HERE.removeprefix("standin-"), THERE.removeprefix("standin-")]), ran.out
    )
    (batch,) = ran.deployed
    for after_s, cell in enumerate(batch, start=2):
        for row in ran.rows(cell):
            assert row["cold_start_s"] == pytest.approx(after_s + 0.3)
            assert row["cold_start_engines"] == 2
