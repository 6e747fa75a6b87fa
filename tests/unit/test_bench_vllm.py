"""The report of the benchmark of the ways to serve, where a server fails in some turn."""

from __future__ import annotations

import bench_vllm
import pytest
from bench_vllm import SAME, Rates, Turn, failed, report

OURS = "vllm, base"


def served(tokens_per_s: float) -> Turn:
    return Turn(tokens_per_s, tokens_per_s / 4, 20.0, 9.0)


def test_only_figures_of_one_turn_are_divided() -> None:
    rates: Rates = {
        OURS: [None, served(90.0), served(80.0)],
        SAME: [served(300.0), None, served(100.0)],
    }
    text = report(rates, ["float32"], 96)
    assert f"`{OURS}` against `{SAME}`: 0.80 (0.80 to 0.80) in 1 of 3 turns; wanted 0.95" in text
    assert f"| {OURS} (failed in 1 of 3 turns) | 85.0 (80.0 to 90.0) |" in text
    assert "20.0 (20.0 to 20.0) ms | 9.0 (9.0 to 9.0) s |" in text


def test_a_row_without_its_pair_has_no_ratio() -> None:
    rates: Rates = {OURS: [served(90.0), None], SAME: [None, served(100.0)], "alone": [None, None]}
    text = report(rates, ["float32"], 96)
    assert "against" not in text
    assert "| alone (failed in 2 of 2 turns) |  |  |  |  |" in text
    assert "against" not in report({OURS: [served(90.0)]}, ["float32"], 96)


def test_rows_that_failed_fail_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: Rates = {OURS: [served(90.0), None], SAME: [served(100.0), served(100.0)]}
    assert failed(rates) == [OURS]
    monkeypatch.setattr(bench_vllm, "measure", lambda *_: rates)
    with pytest.raises(AssertionError):
        bench_vllm.test_every_way_to_serve()
    rates[OURS] = [served(90.0), served(90.0)]
    bench_vllm.test_every_way_to_serve()
