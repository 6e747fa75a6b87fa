"""A sweep of servers that are already there: mock servers with known timing, and our own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import PROMPT_TOKENS, MockTiming
from medsweep.models.templates import PAPER_INSTRUCTION, conversation
from medsweep.results.store import read_rows
from support import MockServers, mock_servers, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECRET = "sk-of-the-hospital"
TTFT_S, GAP_S, TOKENS = 0.06, 0.01, 8
RUN_LIMIT_S = 240.0


@pytest.fixture(scope="module")
def serve() -> Iterator[MockServers]:
    with mock_servers() as start:
        yield start


def server(name: str, url: str, model: str = "mock", **more: Any) -> dict[str, Any]:
    return {"engine": "external", "name": name, "url": url, "model": model, **more}


def run(
    folder: Path, servers: list[dict[str, Any]], **load: Any
) -> subprocess.CompletedProcess[str]:
    """Run a sweep of servers, as a user does."""
    spec = {
        "name": "servers",
        "cells": servers,
        "prices": {"1xa100-1cpu": {"usd_per_hour": 3.6, "source": "us", "date": "2026-01-01"}},
        "load": {
            "points": [{"concurrency": 2, "requests": 12}],
            "repeats": 2,
            "max_tokens": 16,
            "timeout_s": 60,
            **load,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.yaml").write_text(json.dumps(spec))  # JSON is YAML
    command = [sys.executable, "-m", "medsweep", "run", str(folder / "sweep.yaml")]
    return subprocess.run(
        [*command, "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        env={**os.environ, "HOSPITAL_KEY": SECRET},
    )


@pytest.fixture(scope="module")
def swept(
    serve: MockServers, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Three servers in one sweep: a known one, one without usage, and one that is not there."""
    timing = ("--ttft-s", str(TTFT_S), "--gap-s", str(GAP_S), "--tokens", str(TOKENS))
    known = server(
        "known",
        serve(*timing),
        "answers",
        adapter="tuned",
        base="plain",
        hardware="1xa100-1cpu",
        api_key_env="HOSPITAL_KEY",
        headers={"X-Ward": "HOSPITAL_KEY"},
    )
    others = [
        server("uncounted", serve(*timing, "--no-usage")),
        server("gone", "http://127.0.0.1:9/v1"),
    ]
    folder = tmp_path_factory.mktemp("external")
    return folder / "servers", run(folder, [known, *others], compare_base=True)


def test_what_can_be_reached_is_measured_and_the_rest_has_its_reason(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = swept
    assert done.returncode == 1, done.stderr
    assert "measured 2 cells now; all cells: 1 failed, 2 ok" in done.stdout
    (gone,) = [r for r in read_rows(folder / "benchmark.parquet") if r["profile"] == "gone"]
    assert gone["status"] == "failed"
    assert gone["reason"].startswith("no answer from http://127.0.0.1:9/v1/models: Connection")


def test_the_figures_are_those_of_the_server_s_known_timing(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = swept
    rows = [r for r in read_rows(folder / "benchmark.parquet") if r["profile"] == "known"]
    adapted = [row for row in rows if row["variant"] == "adapter"]
    assert [row["variant"] for row in rows].count("base") == 1
    assert {row["served_model"] for row in adapted} == {"tuned"}
    assert [(row["ok"], row["failed"], row["output_tokens_mean"]) for row in adapted] == [
        (12, 0, TOKENS),
        (12, 0, TOKENS),
    ]
    assert {row["prompt_tokens_mean"] for row in rows} == {PROMPT_TOKENS}
    for row in rows:
        # A busy machine adds; nothing takes away.
        assert TTFT_S <= row["ttft_mean_s"] <= row["e2e_mean_s"]
        assert row["e2e_mean_s"] >= TTFT_S + (TOKENS - 1) * GAP_S
        # Two at a time are answered, which in another unit would take longer than the whole run.
        assert row["ok"] * row["e2e_mean_s"] <= 2 * RUN_LIMIT_S
        # The words of the mock server are none of any reference.
        assert (row["token_f1"], row["answer_words_mean"]) == (0.0, TOKENS)
    assert adapted[0]["ttft_mean_low_s"] is None or adapted[0]["ttft_mean_cv"] is not None


def test_rows_say_what_was_declared_and_what_the_server_lacks(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = swept
    rows = read_rows(folder / "benchmark.parquet")
    known = next(row for row in rows if row["profile"] == "known")
    assert (known["cell"], known["model"], known["engine"]) == (
        "answers@known",
        "answers",
        "external",
    )
    assert (known["basis"], known["hardware"]) == ("observed", "1xa100-1cpu")
    assert (known["gpus"], known["accelerator"], known["usd_per_hour"]) == (1, "A100", 3.6)
    # On a machine that is too busy the rate is the client's, and no answer has a price.
    price = None if known["client_limited"] else 3.6 / 3600 / known["requests_per_s"]
    assert known["usd_per_answer"] == (price and pytest.approx(price))
    for column in ("deployment", "cold_start_s", "overhead_ttft_s", "adapter_sha256", "device"):
        assert known[column] is None, column
    assert (known["server_queue_max"], known["server_kv_use_mean"]) == (None, None)
    assert json.loads(known["telemetry_missing"]) == {
        "server": "the server has no /metrics (HTTP 404)"
    }
    uncounted = next(row for row in rows if row["profile"] == "uncounted")
    assert (uncounted["hardware"], uncounted["cpus"], uncounted["usd_per_hour"]) == (None,) * 3
    assert uncounted["output_tokens_mean"] is None
    assert uncounted["output_tokens_per_s"] is None


def test_no_ray_is_started_and_no_key_is_written(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = swept
    assert "fine-tune:" not in done.stderr
    assert not (folder / "adapters").exists()
    assert SECRET not in done.stdout + done.stderr
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_the_report_shows_both_servers(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    page = (swept[0] / "report.html").read_text()
    assert "answers" in page
    assert "known" in page
    assert "uncounted" in page


def test_a_finished_server_is_not_asked_again_and_a_missing_one_is(
    swept: tuple[Path, subprocess.CompletedProcess[str]], serve: MockServers
) -> None:
    folder, _ = swept
    spec = json.loads((folder.parent / "sweep.yaml").read_text())
    again = run(folder.parent, spec["cells"], compare_base=True)
    assert "2 done earlier, 1 to measure" in again.stderr


def test_our_own_server_is_measured_like_a_foreign_one(tmp_path: Path) -> None:
    with serving("--engine", "null") as (_, url):
        done = run(tmp_path, [server("ours", f"{url}/v1", "null", hardware="host")])
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "servers" / "benchmark.parquet")
    assert len(rows) == 2
    for row in rows:
        assert (row["status"], row["basis"], row["ok"]) == ("ok", "observed", 12)
        assert row["output_tokens_mean"] == 16
        assert row["server_requests_before"] == 0
        assert row["server_queue_max"] is not None


@pytest.mark.parametrize("instruction", [PAPER_INSTRUCTION, "Answer in one sentence.", None])
async def test_questions_are_asked_as_adapters_learn_them(
    tmp_path: Path, instruction: str | None
) -> None:
    load = {} if instruction == PAPER_INSTRUCTION else {"instruction": instruction}
    async with running_mock(MockTiming(tokens=2)) as mock:
        cells = [server("known", mock.base_url, "m")]
        done = await asyncio.to_thread(run, tmp_path, cells, **load)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "servers" / "benchmark.parquet")
    assert {row["instruction"] for row in rows} == {instruction}
    asked = [body["messages"] for body in mock.requests if body.get("messages")]
    assert len(asked) >= 24
    for messages in asked:
        assert messages == conversation(messages[-1]["content"], instruction)


def test_a_server_that_refuses_the_key_is_said_plainly(tmp_path: Path) -> None:
    key = {**os.environ, "MEDSWEEP_API_KEY": "another"}
    with serving("--engine", "null", environment=key) as (_, url):
        done = run(tmp_path, [server("ours", f"{url}/v1", "null", api_key_env="HOSPITAL_KEY")])
    assert done.returncode == 1
    assert "refuses the key" in done.stdout
    assert "HTTP 401" in done.stdout


def test_load_generators_on_nodes_of_ray_share_the_load_of_a_server(
    serve: MockServers, tmp_path: Path
) -> None:
    done = run(tmp_path, [server("known", serve("--tokens", "4"))], repeats=1, shards=2)
    assert done.returncode == 0, done.stderr
    [row] = read_rows(tmp_path / "servers" / "benchmark.parquet")
    assert (row["status"], row["ok"], row["load_shards"]) == ("ok", 12, 2)
