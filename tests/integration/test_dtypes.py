"""Serving in bfloat16 against float32, compared in pairs, as docs/engines.md says."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from medsweep.results.store import read_rows
from support import Runner, Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_answers_of_two_dtypes_are_compared_in_pairs(story: Story, tmp_path: Path) -> None:
    shutil.copyfile(story.runner.folder / "small.yaml", tmp_path / "small.yaml")
    runner = Runner(tmp_path, story.runner.environment)
    runner.results.mkdir(parents=True)
    # The adapter is taken over, so that both answer with the same one.
    shutil.copytree(story.runner.results / "adapters", runner.results / "adapters")
    settings = ("serve.dtype=bfloat16", "cells=[distilgpt2@host]")
    options = [word for each in settings for word in ("--set", each)]
    command = runner.command("run", "small.yaml", "--out", "out", *options)
    done = _run(command, runner)
    assert done.returncode == 0, done.stderr
    assert "fine-tune:" not in done.stderr
    before = [
        row
        for row in read_rows(story.runner.results / "benchmark.parquet")
        if row["profile"] == "host"
    ]
    after = read_rows(runner.results / "benchmark.parquet")
    assert {
        (row["status"], row["dtype"], row["dtype_given"], row["dtype_reason"]) for row in after
    } == {("ok", "bfloat16", "bfloat16", "the user names it")}
    assert {row["dtype_given"] for row in before} == {"float32"}
    assert all(row["dtype_reason"].startswith("auto: float32 on a processor") for row in before)
    shas = [
        {row["adapter_sha256"] for row in rows if row["adapter_sha256"]} for rows in (before, after)
    ]
    assert shas[0] == shas[1]
    gate = ("--quality-gate", "--margin", "0.1")
    compare = runner.command("compare", str(story.runner.results), str(runner.results), *gate)
    compared = _run([*compare, "--json"], runner)
    assert compared.returncode in (0, 5), compared.stderr  # which, depends on the machine's speed
    found = json.loads(compared.stdout)
    assert found["circumstances"]["dtype_given"] == [["float32"], ["bfloat16"]]
    assert "adapter_sha256" not in found["circumstances"]
    (answers,) = (
        each
        for each in found["findings"]
        if each["figure"] == "token_f1"
        and "host" in each["subject"]
        and "base" not in each["subject"]
    )
    assert answers["pairs"] >= 20
    assert answers["change"] is not None
    assert any("host" in gate["subject"] for gate in found["gates"])


def _run(command: list[str], runner: Runner) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=runner.folder,
        env=runner.environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
