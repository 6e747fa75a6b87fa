"""A whole sweep with real Ray, as a user runs it: results, resumption, metrics, failures."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from medsweep.results.schema import BENCHMARK, REQUESTS, RESPONSES, arrow_schema
from medsweep.results.store import read_rows
from support import Runner, Story, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_run_that_was_killed_is_finished_by_the_next(story: Story) -> None:
    assert len(story.killed_after) == 1
    assert story.finished.returncode == 0, story.finished.stderr
    assert "1 done earlier, 1 to measure" in story.finished.stderr
    assert len(story.files_between) == 2
    (key, changed) = next(iter(story.killed_after.items()))
    assert story.files_between[key] == changed  # what was done was not measured again


def test_a_finished_sweep_is_not_measured_again(story: Story) -> None:
    assert story.again.returncode == 0
    assert "2 done earlier, 0 to measure" in story.again.stderr
    assert story.runner.cell_files() == story.files_between


def test_every_cell_load_point_and_repeat_has_one_row(story: Story) -> None:
    rows = read_rows(story.runner.results / "benchmark.parquet")
    identities = {
        (row["profile"], row["variant"], row["load_point"], row["repeat"]) for row in rows
    }
    expected = {
        (profile, "adapter", point, repeat)
        for profile in ("1xv100-1cpu", "host")
        for point in ("c2", "r8-poisson")
        for repeat in (1, 2)
    } | {(profile, "base", "r8-poisson", 1) for profile in ("1xv100-1cpu", "host")}
    assert identities == expected
    assert len(rows) == len(expected)


def test_rows_say_what_was_observed_and_what_was_emulated(story: Story) -> None:
    for row in read_rows(story.runner.results / "benchmark.parquet"):
        assert row["status"] == "ok"
        assert row["model"] == "standin-distilgpt2"
        if row["profile"] == "host":
            assert (row["basis"], row["basis_reason"]) == ("observed", None)
        else:
            assert row["basis"] == "emulated"
            assert "V100" in row["basis_reason"]
            assert row["usd_per_answer"] is None
            assert (row["cpus"], row["cpus_given"], row["threads"]) == (1, 1, 1)
        assert row["dtype_given"] == "float32"


def test_figures_are_those_of_the_requests(story: Story) -> None:
    rows = read_rows(story.runner.results / "benchmark.parquet")
    for row in rows:
        requests = [
            request
            for request in read_rows(
                story.runner.results / "cells" / row["key"] / "requests.parquet"
            )
            if (request["load_point"], request["repeat"], request["variant"])
            == (row["load_point"], row["repeat"], row["variant"])
        ]
        measured = [request for request in requests if request["phase"] == "measure"]
        assert row["sent"] == row["ok"] == len(measured)
        ttft = [
            request["first_text_s"] - (request["due_s"] or request["sent_s"])
            for request in measured
        ]
        assert row["ttft_mean_s"] == pytest.approx(sum(ttft) / len(ttft))
        assert row["ttft_p90_s"] is None  # 12 requests are too few for it
        assert row["ttft_p50_s"] is not None or row["sent"] < 11
        open_loop = row["rate_rps"] is not None
        assert (row["dispatch_delay_mean_s"] is not None) == open_loop
        assert {request["phase"] for request in requests} >= {"warmup", "measure"}
        assert all(1 <= request["output_tokens"] <= 8 for request in measured)


def test_answers_that_were_timed_are_graded(story: Story) -> None:
    for row in read_rows(story.runner.results / "benchmark.parquet"):
        responses = [
            response
            for response in read_rows(
                story.runner.results / "cells" / row["key"] / "responses.parquet"
            )
            if (response["load_point"], response["repeat"], response["variant"])
            == (row["load_point"], row["repeat"], row["variant"])
        ]
        assert len(responses) == row["ok"]
        assert all(response["answer"] is not None for response in responses)  # public corpus
        by_question: dict[str, list[float]] = {}
        for response in responses:
            by_question.setdefault(response["question_id"], []).append(response["rouge1"])
        means = [sum(values) / len(values) for values in by_question.values()]
        assert row["rouge1"] == pytest.approx(sum(means) / len(means))
        assert row["questions"] == len(by_question)


def test_the_adapter_is_the_same_on_every_profile(story: Story) -> None:
    rows = read_rows(story.runner.results / "benchmark.parquet")
    assert len({row["adapter_sha256"] for row in rows if row["variant"] == "adapter"}) == 1
    assert {row["adapter_sha256"] for row in rows if row["variant"] == "base"} == {None}


def test_files_have_the_schema(story: Story) -> None:
    results = story.runner.results
    key = next(iter(story.files_between))
    for path, columns in (
        (results / "benchmark.parquet", BENCHMARK),
        (results / "cells" / key / "requests.parquet", REQUESTS),
        (results / "cells" / key / "responses.parquet", RESPONSES),
    ):
        assert pq.read_schema(path).equals(arrow_schema(columns), check_metadata=False)
        assert pq.read_schema(path).field(0).metadata[b"meaning"]


def test_training_is_recorded_epoch_by_epoch(story: Story) -> None:
    (folder,) = (story.runner.results / "adapters").glob("standin-distilgpt2-*")
    rows = pq.read_table(folder / "training.parquet").to_pylist()
    assert [row["epoch"] for row in rows] == [0, 1]
    assert rows[1]["eval_loss"] < rows[0]["eval_loss"]
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["train_pairs"] > 600
    assert provenance["recipe"]["rank"] == 16
    assert (provenance["profile"], provenance["basis"]) == ("1xv100-1cpu", "emulated")


def test_live_metrics_were_served_while_it_ran(story: Story) -> None:
    for name in ("ttft", "inter_token", "e2e"):
        assert f"medsweep_{name}_seconds_bucket{{" in story.scraped
    assert 'basis="emulated"' in story.scraped or 'basis="observed"' in story.scraped
    assert 'model="standin-distilgpt2"' in story.scraped
    for stage in ("fine-tune", "deploy", "load"):
        assert f'stage="{stage}"' in story.scraped
    for profile in ("1xv100-1cpu", "host"):  # the second cell is not measured yet
        assert re.search(rf'medsweep_cell_planned{{[^}}]*profile="{profile}"', story.scraped)


def test_textfile_is_valid_for_prometheus(story: Story) -> None:
    text = (story.runner.results / "metrics.prom").read_text()
    assert text.count("medsweep_ttft_mean_seconds{") == 10
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_nothing_is_left_running_after_a_run(story: Story) -> None:
    for pid in story.pids:  # one was killed, one ended by itself
        assert list(Path("/tmp").glob(f"ms-{pid}-*")) == []
        assert [
            process.info["pid"]
            for process in psutil.process_iter(["pid", "cmdline"])
            if any(f"/tmp/ms-{pid}-" in argument for argument in process.info["cmdline"] or [])
        ] == []


def test_an_engine_that_dies_fails_its_cell_alone(
    tmp_path_factory: pytest.TempPathFactory, story: Story
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    sweep = (story.runner.folder / "small.yaml").read_text()
    (folder / "small.yaml").write_text(
        sweep.replace("cells_together: 1", "cells_together: 2")
        .replace("compare_base: true", "compare_base: false")
        # A dead engine's requests wait for their time limit, so there are few of them.
        .replace("    - {rate: 8, arrivals: poisson, requests: 12}\n", "")
        .replace("requests: 12", "requests: 4")
        .replace("timeout_s: 30", "timeout_s: 5")
    )
    # The adapter is taken over: only serving is to fail here.
    (folder / "out" / "small").mkdir(parents=True)
    (folder / "out" / "small" / "adapters").symlink_to(story.runner.results / "adapters")
    runner = Runner(folder, story.runner.environment)
    answered, resumed = folder / "answered", folder / "resumed"
    process = runner.start("1xv100-1cpu", str(answered), str(resumed))
    while not answered.exists() and process.poll() is None:
        time.sleep(0.1)
    try:
        if process.poll() is None:
            _kill_engine_of(psutil.Process(process.pid), "1xv100-1cpu")
    finally:
        resumed.touch()
        out, told = process.communicate(timeout=280)
    assert answered.exists(), told
    assert process.returncode == 1, told
    records = [json.loads(path.read_text()) for path in runner.results.glob("cells/*/cell.json")]
    by_status = {record["status"]: record for record in records}
    assert set(by_status) == {"ok", "failed"}
    assert by_status["failed"]["reason"]
    assert by_status["failed"]["rows"][0]["profile"] == "1xv100-1cpu"
    assert "failed: standin-distilgpt2@1xv100-1cpu" in out
    assert (runner.results / "report.html").is_file()
    labels = json.loads((runner.results / "labels.json").read_text())
    assert labels
    assert all("question_type" in each for each in labels.values())
    assert 'status="failed"' in (runner.results / "metrics.prom").read_text()


def test_merged_and_live_adapters_are_cells_of_one_sweep(
    tmp_path_factory: pytest.TempPathFactory, story: Story
) -> None:
    folder = tmp_path_factory.mktemp("merged")
    sweep = yaml.safe_load((story.runner.folder / "small.yaml").read_text())
    sweep["cells"] = ["distilgpt2@host"]
    sweep["serve"] = {**sweep.get("serve", {}), "adapters": ["live", "merged"]}
    sweep["load"] |= {"points": [{"concurrency": 2, "requests": 4}], "repeats": 1}
    sweep["load"]["compare_base"] = True
    (folder / "small.yaml").write_text(yaml.safe_dump(sweep))
    (folder / "out" / "small").mkdir(parents=True)
    (folder / "out" / "small" / "adapters").symlink_to(story.runner.results / "adapters")
    runner = Runner(folder, story.runner.environment)
    out, told = runner.start().communicate(timeout=400)
    rows = read_rows(runner.results / "benchmark.parquet")
    assert {row["status"] for row in rows} == {"ok"}, (out, told)
    by_way = {(row["adapters"], row["variant"]): row for row in rows}
    assert len(by_way) == len(rows) == 4
    live, merged = by_way["live", "adapter"], by_way["merged", "adapter"]
    assert (live["cell"], merged["cell"]) == (
        "standin-distilgpt2@host+live",
        "standin-distilgpt2@host+merged",
    )
    assert live["adapter_sha256"] == merged["adapter_sha256"] is not None
    assert live["merged_reason"] == "the adapter is served live"
    assert live["merged_equal_share"] is None
    assert (merged["merged_questions"], merged["merged_equal_share"]) == (8, 1.0)
    assert 0 <= merged["merged_logit_difference"] < 1e-3
    assert merged["merged_reason"] is None
    # The base is not in the merged model, so that it is asked in a deployment of its own.
    assert by_way["merged", "base"]["deployment"] == merged["deployment"] + 1
    assert by_way["live", "base"]["deployment"] == live["deployment"]
    answers = {
        way: {
            (each["variant"], each["question_id"]): each["answer"]
            for each in read_rows(runner.results / "cells" / row["key"] / "responses.parquet")
        }
        for way, row in (("live", live), ("merged", merged))
    }
    assert answers["live"] == answers["merged"]
    assert len({variant for variant, _ in answers["live"]}) == 2


def _kill_engine_of(driver: psutil.Process, profile: str) -> None:
    """Kill the serving engine on the node of a profile, and keep it from coming back."""
    for raylet in driver.children(recursive=True):
        # A node's labels are among its arguments.
        if raylet.name() == "raylet" and f'"{profile}"' in " ".join(raylet.cmdline()):
            engines = [each for each in raylet.children() if "Engine" in " ".join(each.cmdline())]
            assert engines
            # Its node goes with it, or Ray Serve would start the engine again.
            for process in (*engines, raylet):
                process.send_signal(signal.SIGKILL)
            return
    raise AssertionError("no such node")


def _names_of_children(pid: int) -> set[str]:
    names = set()
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            names.add(child.name())
    return names


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (signal.SIGINT, "fine-tune:"),
        (signal.SIGTERM, "fine-tune:"),
        # Ray handles it itself while it starts a node, if it is not kept from it.
        (signal.SIGTERM, "live metrics:"),
    ],
)
def test_an_interrupted_run_says_how_to_go_on_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, story: Story, asked: signal.Signals, place: str
) -> None:
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "small.yaml").write_text((story.runner.folder / "small.yaml").read_text())
    process = Runner(folder, story.runner.environment).start()
    assert process.stderr is not None
    for line in process.stderr:
        if place in line:
            break
    while "gcs_server" not in _names_of_children(process.pid):
        assert process.poll() is None
    process.send_signal(asked)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 3, rest
    assert "run the same command to resume" in rest
    assert "Traceback" not in rest
    assert "SIGTERM" not in rest
    assert list(Path("/tmp").glob(f"ms-{process.pid}-*")) == []
