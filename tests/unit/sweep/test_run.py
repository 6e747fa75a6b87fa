"""The walk over a sweep's cells, with a cluster, engines and a load generator that are fakes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from faked_sweep import BROKEN, HERE, REFUSED, THERE, V100, FakedSweep, is_locked, sweep
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.cells import CellFolder
from medsweep.results.schema import BENCHMARK
from medsweep.serving.engines import compatibility
from medsweep.sweep import resolve as resolve_module
from medsweep.sweep import run
from tiny_entailment import build_entailment


@pytest.fixture
def counted_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the record of each cell was read, by its key."""
    reads = Counter[str]()
    record = CellFolder.record

    def counted(folder: CellFolder) -> Any:
        reads[folder.path.name] += 1
        return record(folder)

    monkeypatch.setattr(CellFolder, "record", counted)
    return reads


TWICE = {"points": [{"concurrency": 1, "requests": 6}], "repeats": 3, "deployments": 2}


def test_every_cell_has_its_rows_and_every_answer_is_graded_once(ran: FakedSweep) -> None:
    resolved = sweep()
    summary = run.run_sweep(resolved, ran.out)
    assert summary.states == {"ok": 2, "failed": 1, "refused": 1}
    assert summary.measured == 2
    assert summary.failures == {BROKEN: "serving did not start: no memory"}
    questions = len(resolved.split.evaluation)
    labels = json.loads((ran.out / "small" / "labels.json").read_text())
    assert {question: set(each) for question, each in labels.items()} == {
        pair.question_id: {"question_type"} for pair in resolved.split.evaluation
    }
    assert ran.graded.total() == 2 * (2 * 6 + questions)
    for cell, basis in ((HERE, "observed"), (THERE, "emulated")):
        rows = ran.rows(cell)
        assert [(row["variant"], row["repeat"]) for row in rows] == [
            ("adapter", 1),
            ("adapter", 2),
            ("base", 1),
        ]
        for row in rows:
            assert set(row) == {column.name for column in BENCHMARK}
            assert (row["basis"], row["device"]) == (basis, "Tesla V100-SXM2-16GB")
            assert (row["sent"], row["ok"]) == (row["questions"], row["questions"])
            assert row["ttft_mean_s"] == pytest.approx(0.1)
            assert (row["client_ttft_bias_s"], row["cpu_throttled_periods"]) == (0.001, 2)
            assert row["engine_settings"] == '{"starts": 1}'
            assert (row["overhead_ttft_s"], row["overhead_concurrency"]) == (
                pytest.approx(0.001),
                1,
            )
            assert (row["predicted_ttft_s"] is None) == (basis == "emulated")
            assert (row["adapter_sha256"] is None) == (row["variant"] == "base")
        assert rows[0]["ttft_mean_cv"] == pytest.approx(0.0)
        assert rows[0]["ttft_mean_low_s"] is None  # two repeats
        assert rows[2]["ttft_mean_cv"] is None  # a single repeat
    (failed,), (refused,) = ran.rows(BROKEN), ran.rows(REFUSED)
    assert (failed["status"], failed["basis"]) == ("failed", "observed")
    assert (refused["status"], refused["basis"]) == ("refused", "predicted")
    assert "main memory" in refused["reason"]


def test_results_of_data_that_is_not_public_are_the_owner_s_alone(
    ran: FakedSweep, tmp_path: Path
) -> None:
    path = tmp_path / "ward.csv"
    path.write_text("question,answer\n" + "".join(f"What is {n}?,It is {n}.\n" for n in range(60)))
    folder = run.run_sweep(sweep(dataset={"name": "local", "path": str(path)}), ran.out).folder
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {each.stat().st_mode & 0o077 for each in folder.rglob("*")}
    assert (folder / "benchmark.parquet").is_file()
    assert modes == {0}


def test_price_and_cost_are_those_of_the_day_of_collection(ran: FakedSweep) -> None:
    run.run_sweep(sweep(), ran.out)
    row = ran.rows(HERE)[0]
    assert row["usd_per_answer"] == pytest.approx(3.6 / 3600 / row["requests_per_s"])
    assert (row["usd_per_hour"], row["price_source"]) == (3.6, "a list")
    assert ran.rows(THERE)[0]["usd_per_answer"] is None  # emulated
    for record in (ran.out / "small" / "cells").glob("*/cell.json"):
        assert "usd" not in record.read_text()
    run.run_sweep(sweep(prices={}), ran.out)
    assert len(ran.deployed) == 3  # the broken cell alone is tried again
    again = ran.rows(HERE)[0]
    assert (again["usd_per_hour"], again["usd_per_answer"]) == (None, None)
    assert again["measured_at"] == row["measured_at"]


def test_all_fine_tunes_come_first_and_cells_of_one_profile_are_not_deployed_together(
    ran: FakedSweep,
) -> None:
    run.run_sweep(sweep(), ran.out)
    assert sorted(ran.trained) == ["standin-distilgpt2", "standin-gemma-1.1-7b"]
    assert sorted(map(len, ran.deployed)) == [1, 2]
    assert ran.cluster.entered == 1
    assert sum({HERE, BROKEN} <= set(batch) for batch in ran.deployed) == 0


def test_a_failed_fine_tune_fails_its_cells_alone(ran: FakedSweep) -> None:
    ran.failing = {"standin-gemma-1.1-7b": "loss is not a number"}
    summary = run.run_sweep(sweep(), ran.out)
    assert summary.failures == {BROKEN: "loss is not a number"}
    assert summary.states["ok"] == 2
    assert BROKEN not in {cell for batch in ran.deployed for cell in batch}


def test_given_cells_are_measured_alone_under_their_own_locks(ran: FakedSweep) -> None:
    resolved, folder = sweep(), ran.out / "small"
    cells = [cell for cell in resolved.plan.runnable if cell.name in (HERE, BROKEN)]
    with LiveMetrics() as metrics:
        failures = run.run_cells(resolved, cells, folder, metrics)
        assert failures == {BROKEN: "serving did not start: no memory"}
        assert sorted(ran.deployed) == [[HERE], [BROKEN]]
        assert ran.locked == [True, True]
        assert not is_locked(folder)
        written = {path.name for path in (folder / "cells").iterdir()}
        assert written == {cell.key for cell in cells}
        ran.deployed.clear()
        run.run_cells(resolved, cells, folder, metrics)
    assert ran.deployed == [[BROKEN]]
    # Base weights that an adapter names are fetched on each node that does not have them.
    assert Counter(ran.built) == {"standin-distilgpt2": 1, "standin-gemma-1.1-7b": 2}


def test_a_node_that_does_not_come_fails_the_cell_with_its_reason(ran: FakedSweep) -> None:
    resolved, folder = sweep(), ran.out / "small"
    cells = [cell for cell in resolved.plan.runnable if cell.name == HERE]
    ran.cluster.fault = "no Ray node for 1xv100-here after 600 s"
    with LiveMetrics() as metrics:
        assert run.run_cells(resolved, cells, folder, metrics) == {HERE: ran.cluster.fault}
    assert ran.deployed == []


def test_a_resumed_sweep_says_which_cells_auto_serves_with_another_engine_now(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compatibility, "VLLM_HEAD_DIMS", (16,))
    absent = ["vllm"]
    monkeypatch.setattr(
        resolve_module, "missing_here", lambda name, _: f"no {name}" if name in absent else None
    )
    cells = ["llama-3-8b@1xa100-1cpu", "distilgpt2@1xv100-here"]
    run.run_sweep(sweep(cells=cells), ran.out)
    cell = "standin-llama-3-8b@1xa100-1cpu"
    assert {row["engine"] for row in ran.rows(cell)} == {"continuous"}
    assert "another engine" not in capsys.readouterr().err
    absent.clear()
    ran.deployed.clear()
    run.run_sweep(sweep(cells=cells), ran.out)
    assert ran.deployed == [[cell]]  # the other cell is served as before
    assert {row["engine"] for row in ran.rows(cell)} == {"vllm"}
    assert (
        f"these cells have results of another engine here ({cell}: continuous before, vllm now), "
        "which do not count; serve.engine names the one to take"
    ) in capsys.readouterr().err
    # Named, the earlier results count again.
    ran.deployed.clear()
    run.run_sweep(sweep(cells=cells, serve={"engine": "continuous"}), ran.out)
    assert ran.deployed == []
    assert {row["engine"] for row in ran.rows(cell)} == {"continuous"}
    assert "another engine" not in capsys.readouterr().err


def test_a_finished_sweep_starts_no_cluster(ran: FakedSweep) -> None:
    resolved = sweep(cells=["distilgpt2@1xv100-here"])
    run.run_sweep(resolved, ran.out)
    run.run_sweep(resolved, ran.out)
    assert ran.cluster.entered == 1
    (cell,) = resolved.plan.cells
    assert CellFolder(ran.out / "small" / "cells" / cell.key).done


def test_each_cell_is_read_as_often_in_a_large_sweep_as_in_a_small_one(
    ran: FakedSweep, counted_reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted_reads
    states: list[dict[str, int]] = []
    monkeypatch.setattr(LiveMetrics, "cells", lambda _, name, counts: states.append(dict(counts)))

    def read_by(count: int, **changes: Any) -> float:
        names = [f"p{number}" for number in range(count)]
        own = [{**V100, "name": name} for name in names]
        cells = [f"distilgpt2@{name}" for name in names]
        reads.clear()
        run.run_sweep(
            sweep(
                name=f"of{count}",
                own_profiles=own,
                cells=cells,
                cells_together=1,
                prices={},
                finetune={"profile": "p0"},
                **changes,
            ),
            ran.out,
        )
        return reads.total() / count

    assert read_by(2) == read_by(6)
    # Before the fine-tunes, before each cell, and at the end.
    assert [each["ok"] for each in states] == [0, *range(3), 0, *range(7)]
    # With new keys, beside the results of the first run.
    again = {"serve": {"max_batch_size": 3}}
    assert read_by(2, **again) == read_by(6, **again)


def test_a_job_of_given_cells_does_not_read_the_others_of_the_folder(
    ran: FakedSweep, counted_reads: Counter[str]
) -> None:
    run.run_sweep(sweep(), ran.out)
    counted_reads.clear()
    resolved = sweep(serve={"max_batch_size": 3})
    cells = [cell for cell in resolved.plan.runnable if cell.name == HERE]
    with LiveMetrics() as metrics:
        run.run_cells(resolved, cells, ran.out / "small", metrics)
    assert set(counted_reads) == {cell.key for cell in cells}


def test_weights_of_the_first_fine_tunes_are_fetched_while_the_cluster_starts(
    ran: FakedSweep,
) -> None:
    cells = ["distilgpt2@1xv100-here", "gemma-1.1-7b@1xa100-1cpu"]
    run.run_sweep(sweep(cells=cells), ran.out)  # stand-ins of one profile are trained together
    assert set(ran.ahead) == {"standin-distilgpt2", "standin-gemma-1.1-7b"} == set(ran.trained)
    ran.ahead, ran.trained = [], []
    run.run_sweep(sweep(name="apart", cells=cells, finetune={}), ran.out)
    assert len(ran.trained) == 2
    assert ran.ahead == ran.trained[:1]
    ran.ahead, ran.trained, ran.cluster.emulates = [], [], False
    run.run_sweep(sweep(name="elsewhere", cells=cells), ran.out)
    assert (ran.ahead, len(ran.trained)) == ([], 2)  # the cache is that of another machine


def test_cells_are_deployed_anew_between_blocks_of_repeats(ran: FakedSweep) -> None:
    """All batches are deployed once before any is deployed again."""
    cells = ["distilgpt2@1xv100-here", "distilgpt2@1xa100-1cpu"]
    run.run_sweep(sweep(cells=cells, load=TWICE, cells_together=1), ran.out)
    assert ran.deployed[:2] == ran.deployed[2:]
    assert sorted(ran.deployed[:2]) == [[THERE], [HERE]]
    assert ran.trained == ["standin-distilgpt2"]
    for cell in (HERE, THERE):
        rows = ran.rows(cell)
        assert [(row["repeat"], row["deployment"]) for row in rows] == [(1, 1), (2, 1), (3, 2)]


def test_a_cell_that_fails_once_is_not_deployed_again(ran: FakedSweep) -> None:
    summary = run.run_sweep(sweep(load=TWICE), ran.out)
    assert summary.failures == {BROKEN: "serving did not start: no memory"}
    assert sum(BROKEN in batch for batch in ran.deployed) == 1
    assert sum(HERE in batch for batch in ran.deployed) == 2


def test_a_run_that_is_continued_counts_its_own_deployment(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends after the first of three repeats; the next deploys the cell for the second."""
    resolved = sweep(cells=["distilgpt2@1xv100-here"], load=TWICE)
    saved, save = [], CellFolder.save_measurement

    def stop(*arguments: Any) -> None:
        if len(saved) == 1:
            raise KeyboardInterrupt
        saved.append(save(*arguments))

    with monkeypatch.context() as patched:
        patched.setattr(CellFolder, "save_measurement", stop)
        with pytest.raises(KeyboardInterrupt):
            run.run_sweep(resolved, ran.out)
    run.run_sweep(resolved, ran.out)
    rows = ran.rows(HERE)
    assert [(row["repeat"], row["deployment"]) for row in rows] == [(1, 1), (2, 2), (3, 3)]


def test_a_cell_whose_measurements_are_complete_is_finished_without_a_deployment(
    ran: FakedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = sweep(cells=["distilgpt2@1xv100-here"])

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CellFolder, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            run.run_sweep(resolved, ran.out)
    assert run.run_sweep(resolved, ran.out).states == {"ok": 1}
    assert len(ran.deployed) == 1


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [{"most_references": 100}, {"version": "0.0.1"}])
def test_the_meter_of_other_figures_or_fewer_references_is_not_taken(
    ran: FakedSweep, earlier: dict[str, Any]
) -> None:
    resolved = sweep(cells=["distilgpt2@1xv100-here"])
    run.run_sweep(resolved, ran.out)
    path = ran.out / "small" / "meter.json"
    known = json.loads(path.read_text())
    for fields, taken in (({}, True), (earlier, False)):
        path.write_text(json.dumps({**known, **fields, "detections": []}))
        run.run_sweep(resolved, ran.out)
        assert (json.loads(path.read_text())["detections"] == []) == taken
    assert json.loads(path.read_text()) == known


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_claims_of_the_timed_answers_are_judged_by_the_sweep_s_model(
    ran: FakedSweep, tmp_path: Path
) -> None:
    named = {"entailment": {"model": str(build_entailment(tmp_path / "nli")), "batch": 4}}
    plain, resolved = sweep(), sweep(quality=named)
    assert {cell.key for cell in plain.plan.cells}.isdisjoint(
        cell.key for cell in resolved.plan.cells
    )
    run.run_sweep(resolved, ran.out)
    row = ran.rows(HERE)[0]
    assert row["claims_by"].startswith("nli@folder-")
    assert row["claims_expected"] > 0
    for figure in ("claim_recall", "claim_precision", "claim_consistency"):
        assert 0 <= row[f"{figure}_low"] <= row[figure] <= row[f"{figure}_high"] <= 1
    assert row["claim_consistency_errors_seen"] is not None
    meter = json.loads((ran.out / "small" / "meter.json").read_text())
    assert meter["entailment"] == named["entailment"]["model"]
    run.run_sweep(plain, ran.out)
    row = ran.rows(HERE)[0]
    assert (row["claim_recall"], row["claims_expected"]) == (None, None)
    assert row["claims_by"] == "not judged: no model for entailment was given"
    assert row["claim_consistency_errors_seen"] is None
