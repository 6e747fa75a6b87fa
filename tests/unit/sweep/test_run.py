"""The walk over a sweep's cells, with a cluster, engines and a load generator that are fakes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from made_rows import NODE, REPLICA, calibration
from medsweep.errors import EnvironmentFault, InputError, StageError
from medsweep.finetune.adapter import Adapter
from medsweep.hardware.profile import HardwareProfile
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.fleet import Split
from medsweep.loadgen.shard import LABELS, Shard
from medsweep.loadgen.spec import LoadJob
from medsweep.metrics import tally
from medsweep.metrics.quality import score_and_count
from medsweep.metrics.request_record import RequestRecord
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.report import page
from medsweep.results.cells import CellFolder
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import exclusive, read_rows
from medsweep.serving.engines.null import is_null
from medsweep.serving.equality import Equality
from medsweep.sweep import calibration as calibration_module
from medsweep.sweep import confidence, context, deployed, finish, measure, prepare, run
from medsweep.sweep.resolve import Resolved, resolve
from support import make_spec
from tiny_entailment import build_entailment

V100 = {"name": "1xv100-here", "cpus": 1, "gpus": 1, "accelerator": "v100", "host_memory_gib": 4}
PRICE = {"usd_per_hour": 3.6, "source": "a list", "date": "2026-01-02"}
HERE, THERE = "standin-distilgpt2@1xv100-here", "standin-distilgpt2@1xa100-1cpu"
BROKEN, REFUSED = "standin-gemma-1.1-7b@1xv100-here", "standin-gemma-1.1-7b@tiny"


def sweep(**changes: Any) -> Resolved:
    """Four cells: observed, emulated, one whose engine does not start, and one refused."""
    values: dict[str, Any] = {
        "cells": [cell.removeprefix("standin-") for cell in (HERE, THERE, BROKEN, REFUSED)],
        "own_profiles": [V100, {"name": "tiny", "cpus": 1, "gpus": 0, "host_memory_gib": 0.001}],
        "prices": {"1xv100-here": PRICE},
        "load": {
            "points": [{"concurrency": 1, "requests": 6}],
            "repeats": 2,
            "compare_base": True,
            "max_tokens": 8,
        },
        "finetune": {"profile": "1xv100-here"},
        "keep_text": True,
        "cells_together": 2,
    }
    return resolve(make_spec(**values | changes))


class FakeCluster:
    """A cluster whose nodes are there at once, and whose node has an empty cache (fake)."""

    port, emulates = 9, True

    def __init__(self) -> None:
        self.entered = 0
        self.nodes: list[list[str]] = []
        self.fetched: list[str] = []
        self.fault: str | None = None
        self.no_cpus: str | None = None
        self.cpus: list[tuple[dict[str, str], int]] = []

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ensure_nodes(self, profiles: Sequence[HardwareProfile]) -> None:
        if self.fault is not None:
            raise EnvironmentFault(self.fault)
        self.nodes.append([profile.name for profile in profiles])

    def ensure_cpus(self, labels: Mapping[str, str], count: int) -> None:
        if self.no_cpus is not None:
            raise EnvironmentFault(self.no_cpus)
        self.cpus.append((dict(labels), count))

    def call_on_node(
        self,
        profile: HardwareProfile,
        function: Callable[..., object],
        *arguments: object,
        gpus: int = 0,
    ) -> object:
        self.fetched.append(profile.name)
        return function(*arguments)


class FakeLoad:
    """A load generator whose requests take 0.1 s to the first token and 0.2 s more (fake).

    A null model takes 1 ms to the first token for each request in flight, and 0.5 ms more per token
    than its pace.
    """

    split: Split | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def records(self, job: LoadJob, on_record: Any = None) -> list[RequestRecord]:
        """Answer every second question with its own words."""
        warmup = job.point.warmup_requests
        records = []
        rate, first_s, gap_s = job.point.rate, 0.1, 0.1
        if is_null(job.model):
            concurrency = job.point.concurrency or 0
            first_s = 0.001 * concurrency
            gap_s = float(job.model.partition(":")[2]) + 0.0005 * concurrency
        for index in range(warmup + job.point.requests):
            prompt = job.prompts[index % len(job.prompts)]
            sent_s = 10.0 + index * (1 / rate if rate else 0.3)
            records.append(
                RequestRecord(
                    index=index,
                    phase="warmup" if index < warmup else "measure",
                    question_id=prompt.question_id,
                    due_s=sent_s if rate else None,
                    sent_s=sent_s,
                    first_text_s=sent_s + first_s,
                    end_s=sent_s + first_s + 2 * gap_s,
                    chunk_gaps_s=(0.1, 0.1),
                    chunk_tokens=(1, 1, 1),
                    prompt_tokens=20,
                    output_tokens=3,
                    token_source="usage",
                    finish_reason="stop",
                    status="ok",
                    error=None,
                    text=prompt.text if index % 2 else "nothing",
                )
            )
            if on_record is not None:
                on_record(records[-1])
        return records


class FakeTelemetry:
    """A node without sensors, on which the engine lasts (fake)."""

    lasted, recording = True, None

    def __init__(self, cell: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Ran:
    """Runs a sweep with fakes, and notes what was done."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out = folder
        self.cluster = FakeCluster()
        self.trained: list[str] = []
        self.deployed: list[list[str]] = []
        self.graded = Counter[str]()
        self.failing: dict[str, str] = {}
        self.built: list[str] = []
        self.locked: list[bool] = []
        self.client_errors_s = iter([0.001] * 99)
        base = folder / "base"
        for name, value in {
            "deploy": self._deploy,
            "start_ingress": lambda port, loopback: f"http://127.0.0.1:{port}",
            "undeploy": lambda names: None,
            "throttled_periods": lambda name: 5,
            "Fleet": lambda *_: FakeLoad(),
            "read_adapter": lambda path: Adapter(path, "m", base, "alpaca", (), "a" * 64),
            "fetch_weights": lambda weights: self.built.append(weights.spec.name),
        }.items():
            monkeypatch.setattr(measure if hasattr(measure, name) else prepare, name, value)
        monkeypatch.setattr(deployed, "NodeTelemetry", FakeTelemetry)
        monkeypatch.setattr(context, "observe_host", lambda: NODE)
        monkeypatch.setattr(run, "LocalCluster", lambda: self.cluster)
        monkeypatch.setattr(run, "JoinedCluster", lambda: self.cluster)
        monkeypatch.setattr(run, "finetune_missing", self._finetune)
        monkeypatch.setattr(calibration_module, "calibrate_fleet", self._calibrate)
        monkeypatch.setattr(finish, "read_adapter", prepare.read_adapter)
        monkeypatch.setattr(tally, "score_and_count", self._score)
        monkeypatch.setattr(page, "write_report", lambda folder: None)

    def rows(self, cell: str) -> list[dict[str, Any]]:
        """The rows of one cell, in order of variant and repeat."""
        found = read_rows(self.out / "small" / "benchmark.parquet")
        return [row for row in found if row["cell"] == cell]

    def _deploy(self, deployments: Sequence[Any]) -> dict[str, Any]:
        self.deployed.append([f"{d.settings.model.name}@{d.profile.name}" for d in deployments])
        self.locked.append(
            any(_is_locked(self.out / "small" / "cells" / d.name) for d in deployments)
        )
        return {
            d.name: StageError("serving did not start: no memory")
            if "gemma" in d.settings.model.name
            else REPLICA | {"started_after_s": 2.0 + place}
            for place, d in enumerate(deployments)
        }

    def _finetune(
        self, resolved: Resolved, folder: Path, adapters: Sequence[Any], **_: object
    ) -> dict[str, str]:
        self.trained += [each.model.name for each in adapters]
        failures = {each.key: self.failing.get(each.model.name) for each in adapters}
        return {key: reason for key, reason in failures.items() if reason}

    def _calibrate(self, fleet: object, loads: Sequence[CalibrationLoad]) -> list[Calibration]:
        error_s = next(self.client_errors_s)
        return [calibration(load.concurrency, error_s=error_s) for load in loads]

    def _score(self, answer: str, reference: str, *given: Any) -> Any:
        self.graded[answer] += 1
        return score_and_count(answer, reference, *given)


def _is_locked(folder: Path) -> bool:
    try:
        with exclusive(folder):
            return False
    except EnvironmentFault:
        return True


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    return Ran(tmp_path, monkeypatch)


def test_every_cell_has_its_rows_and_every_answer_is_graded_once(ran: Ran) -> None:
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


def test_results_of_data_that_is_not_public_are_the_owner_s_alone(ran: Ran, tmp_path: Path) -> None:
    path = tmp_path / "ward.csv"
    path.write_text("question,answer\n" + "".join(f"What is {n}?,It is {n}.\n" for n in range(60)))
    folder = run.run_sweep(sweep(dataset={"name": "local", "path": str(path)}), ran.out).folder
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {each.stat().st_mode & 0o077 for each in folder.rglob("*")}
    assert (folder / "benchmark.parquet").is_file()
    assert modes == {0}


def test_price_and_cost_are_those_of_the_day_of_collection(ran: Ran) -> None:
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
    ran: Ran,
) -> None:
    run.run_sweep(sweep(), ran.out)
    assert sorted(ran.trained) == ["standin-distilgpt2", "standin-gemma-1.1-7b"]
    assert sorted(map(len, ran.deployed)) == [1, 2]
    assert ran.cluster.entered == 1
    assert sum({HERE, BROKEN} <= set(batch) for batch in ran.deployed) == 0


def test_a_failed_fine_tune_fails_its_cells_alone(ran: Ran) -> None:
    ran.failing = {"standin-gemma-1.1-7b": "loss is not a number"}
    summary = run.run_sweep(sweep(), ran.out)
    assert summary.failures == {BROKEN: "loss is not a number"}
    assert summary.states["ok"] == 2
    assert BROKEN not in {cell for batch in ran.deployed for cell in batch}


def test_given_cells_are_measured_alone_under_their_own_locks(ran: Ran) -> None:
    resolved, folder = sweep(), ran.out / "small"
    cells = [cell for cell in resolved.plan.runnable if cell.name in (HERE, BROKEN)]
    with LiveMetrics() as metrics:
        failures = run.run_cells(resolved, cells, folder, metrics)
        assert failures == {BROKEN: "serving did not start: no memory"}
        assert sorted(ran.deployed) == [[HERE], [BROKEN]]
        assert ran.locked == [True, True]
        assert not _is_locked(folder)
        written = {path.name for path in (folder / "cells").iterdir()}
        assert written == {cell.key for cell in cells}
        ran.deployed.clear()
        run.run_cells(resolved, cells, folder, metrics)
    assert ran.deployed == [[BROKEN]]
    # Base weights that an adapter names are fetched on each node that does not have them.
    assert Counter(ran.built) == {"standin-distilgpt2": 1, "standin-gemma-1.1-7b": 2}


def test_base_weights_are_not_fetched_where_they_are(ran: Ran) -> None:
    (ran.out / "base").mkdir()
    run.run_sweep(sweep(), ran.out)
    assert ran.built == []
    assert len(ran.cluster.fetched) == 3


def test_a_node_that_does_not_come_fails_the_cell_with_its_reason(ran: Ran) -> None:
    resolved, folder = sweep(), ran.out / "small"
    cells = [cell for cell in resolved.plan.runnable if cell.name == HERE]
    ran.cluster.fault = "no Ray node for 1xv100-here after 600 s"
    with LiveMetrics() as metrics:
        assert run.run_cells(resolved, cells, folder, metrics) == {HERE: ran.cluster.fault}
    assert ran.deployed == []


def test_a_finished_sweep_starts_no_cluster(ran: Ran) -> None:
    resolved = sweep(cells=["distilgpt2@1xv100-here"])
    run.run_sweep(resolved, ran.out)
    run.run_sweep(resolved, ran.out)
    assert ran.cluster.entered == 1
    (cell,) = resolved.plan.cells
    assert CellFolder(ran.out / "small" / "cells" / cell.key).done


def test_the_client_is_calibrated_before_and_after_each_batch_of_cells(ran: Ran) -> None:
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


def test_a_sweep_goes_on_without_calibration(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(load: object, levels: Sequence[int]) -> list[Calibration]:
        raise StageError("calibration: the mock server did not start")

    monkeypatch.setattr(calibration_module, "calibrate_fleet", fail)
    assert run.run_sweep(sweep(), ran.out).states["ok"] == 2
    row = ran.rows(HERE)[0]
    assert (row["client_ttft_bias_s"], row["calibrations"], row["client_limited"]) == (None,) * 3


def test_a_load_from_several_machines_says_so_in_each_row(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, object]] = []

    def fleet(count: int, make: object = None) -> FakeLoad:
        made.append((count, make))
        load = FakeLoad()
        load.split = Split(count, 0.0004, 0.003)
        return load

    monkeypatch.setattr(measure, "Fleet", fleet)
    points = [{"concurrency": 8, "requests": 12}]
    load = {"points": points, "repeats": 1, "max_tokens": 8, "shards": 4}
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"], load=load), ran.out)
    assert ran.cluster.cpus == [(LABELS, 4)]
    assert made == [(4, Shard)]
    for row in ran.rows(HERE):
        assert (row["load_shards"], row["shard_clock_error_s"]) == (4, 0.0004)
        assert row["shard_start_spread_s"] == 0.003


def test_one_load_generator_needs_no_node_of_its_own(ran: Ran) -> None:
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"]), ran.out)
    assert ran.cluster.cpus == []
    assert {(r["load_shards"], r["shard_clock_error_s"]) for r in ran.rows(HERE)} == {(1, None)}


def test_without_nodes_for_the_load_every_cell_fails_with_that_reason(ran: Ran) -> None:
    ran.cluster.no_cpus = "0 of 4 CPUs on Ray nodes with medsweep.io/role=load after 600 s"
    load = {"points": [{"concurrency": 8, "requests": 12}], "repeats": 1, "shards": 4}
    run.run_sweep(sweep(cells=["distilgpt2@1xv100-here"], load=load), ran.out)
    [row] = ran.rows(HERE)
    assert (row["status"], row["reason"]) == ("failed", ran.cluster.no_cpus)


def test_the_overhead_is_that_of_each_load_point_s_concurrency(ran: Ran) -> None:
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


def test_the_cold_start_is_each_engine_s_own(ran: Ran) -> None:
    """Engines run 2 and 3 s after they were requested; each answers first within 0.3 s."""
    run.run_sweep(
        sweep(cells=[HERE.removeprefix("standin-"), THERE.removeprefix("standin-")]), ran.out
    )
    (batch,) = ran.deployed
    for after_s, cell in enumerate(batch, start=2):
        for row in ran.rows(cell):
            assert row["cold_start_s"] == pytest.approx(after_s + 0.3)
            assert row["cold_start_engines"] == 2


def test_each_cell_is_read_as_often_in_a_large_sweep_as_in_a_small_one(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Counter[str]()
    states: list[dict[str, int]] = []
    record = CellFolder.record

    def counted(folder: CellFolder) -> Any:
        reads[folder.path.name] += 1
        return record(folder)

    monkeypatch.setattr(CellFolder, "record", counted)
    monkeypatch.setattr(LiveMetrics, "cells", lambda _, name, counts: states.append(dict(counts)))

    def read_by(count: int) -> float:
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
            ),
            ran.out,
        )
        return reads.total() / count

    assert read_by(2) == read_by(6)
    # Before the fine-tunes, before each cell, and at the end.
    assert [each["ok"] for each in states] == [0, *range(3), 0, *range(7)]


TWICE = {"points": [{"concurrency": 1, "requests": 6}], "repeats": 3, "deployments": 2}


def test_cells_are_deployed_anew_between_blocks_of_repeats(ran: Ran) -> None:
    """All batches are deployed once before any is deployed again."""
    cells = ["distilgpt2@1xv100-here", "distilgpt2@1xa100-1cpu"]
    run.run_sweep(sweep(cells=cells, load=TWICE, cells_together=1), ran.out)
    assert ran.deployed[:2] == ran.deployed[2:]
    assert sorted(ran.deployed[:2]) == [[THERE], [HERE]]
    assert ran.trained == ["standin-distilgpt2"]
    for cell in (HERE, THERE):
        rows = ran.rows(cell)
        assert [(row["repeat"], row["deployment"]) for row in rows] == [(1, 1), (2, 1), (3, 2)]


def test_a_cell_that_fails_once_is_not_deployed_again(ran: Ran) -> None:
    summary = run.run_sweep(sweep(load=TWICE), ran.out)
    assert summary.failures == {BROKEN: "serving did not start: no memory"}
    assert sum(BROKEN in batch for batch in ran.deployed) == 1
    assert sum(HERE in batch for batch in ran.deployed) == 2


def test_a_run_that_is_continued_counts_its_own_deployment(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
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
    ran: Ran, monkeypatch: pytest.MonkeyPatch
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


def test_the_client_is_calibrated_around_each_deployment_of_a_cell(ran: Ran) -> None:
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


def test_a_merged_adapter_is_compared_and_its_base_deployed_alone(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    merged: list[str] = []

    def compare(one: Adapter, _: Path, dtype: str, prompts: Sequence[str], longest: int) -> Any:
        if asked and "gpt2" in one.folder.name:
            raise MemoryError("and the text of a prompt")
        if "gpt2" in one.folder.name:
            asked.append((dtype, len(prompts), longest))
        return Equality(8, 0.75, 0.5)

    monkeypatch.setattr(prepare, "compare_merged", compare)
    monkeypatch.setattr(prepare, "merged_folder", lambda _, base, dtype: merged.append(dtype))
    serve = {"engine": "continuous", "adapters": "merged"}
    resolved = sweep(serve=serve)
    summary = run.run_sweep(resolved, ran.out)
    assert summary.states["ok"] == 2
    here = ran.rows(HERE)
    assert [(row["variant"], row["deployment"]) for row in here] == [
        ("adapter", 1),
        ("adapter", 1),
        ("base", 2),
    ]
    assert {row["adapters"] for row in here} == {"merged"}
    deployed = [batch for batch in ran.deployed if HERE in batch]
    assert len(deployed) == 2
    # Without this machine's GPU, the CPU that stands in for it computes in float32.
    assert set(merged) == {"float32"}
    compared, other = (ran.rows(cell)[0] for cell in (HERE, THERE))
    if compared["merged_reason"] is not None:
        compared, other = other, compared
    assert asked == [("float32", 8, 8)]  # max_tokens is 8
    assert (compared["merged_questions"], compared["merged_equal_share"]) == (8, 0.75)
    assert (compared["merged_logit_difference"], compared["merged_reason"]) == (0.5, None)
    assert other["merged_reason"] == "could not be compared: MemoryError"
    assert other["merged_equal_share"] is None


def test_a_run_that_lacks_only_a_merged_cell_s_base_deploys_only_that(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "compare_merged", lambda *_: Equality(8, 1.0, 0.0))
    monkeypatch.setattr(prepare, "merged_folder", lambda *_: None)
    alone: list[bool] = []

    def deploy(deployments: Sequence[Any]) -> dict[str, Any]:
        alone.append(not deployments[0].settings.adapters)
        if len(alone) == 2:
            return {each.name: StageError("no memory for the base") for each in deployments}
        return ran._deploy(deployments)

    monkeypatch.setattr(measure, "deploy", deploy)
    resolved = sweep(cells=[HERE.removeprefix("standin-")], serve={"adapters": "merged"})
    assert run.run_sweep(resolved, ran.out).failures == {HERE: "no memory for the base"}
    assert alone == [False, True]
    assert run.run_sweep(resolved, ran.out).states == {"ok": 1}
    assert alone == [False, True, True]
    assert [row["variant"] for row in ran.rows(HERE)] == ["adapter", "adapter", "base"]


@pytest.mark.slow
def test_claims_of_the_timed_answers_are_judged_by_the_sweep_s_model(
    ran: Ran, tmp_path: Path
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


def test_a_model_that_cannot_judge_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match="no such folder"):
        sweep(quality={"entailment": {"model": "/no/such/folder"}})


def test_confidence_is_asked_for_once_per_answer_and_only_on_request(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def logprobs(_: str, model: str, prompt: str, answer: str, *, timeout_s: float) -> list[float]:
        asked.append((model, prompt))
        assert answer
        return [-0.5, -1.5]

    monkeypatch.setattr(confidence, "answer_logprobs", logprobs)
    run.run_sweep(sweep(), ran.out)
    row = ran.rows(HERE)[0]
    assert asked == []
    assert row["confidence_by"] == "not asked for: quality.confidence is false"
    assert row["confidence_questions"] is None
    run.run_sweep(sweep(quality={"confidence": True}), ran.out)
    row = ran.rows(HERE)[0]
    assert row["confidence_by"] == confidence.ASKED
    assert row["confidence_questions"] == row["questions"]
    assert row["confidence_f1"] is None, "all answers are equally sure"
    assert row["surest_f1"] == pytest.approx(row["token_f1"])
    assert set(Counter(asked).values()) == {2}, "once per cell: the repeats have the same answers"
    assert all("### Response" in prompt for _, prompt in asked)


def test_an_engine_without_log_probabilities_says_so(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> list[float]:
        raise InputError("this engine gives no log-probabilities")

    monkeypatch.setattr(confidence, "answer_logprobs", refuse)
    summary = run.run_sweep(sweep(quality={"confidence": True}), ran.out)
    assert summary.states["ok"] == 2
    row = ran.rows(HERE)[0]
    assert (row["surest_f1"], row["confidence_by"]) == (None, confidence.NOT_GIVEN)
