"""`medsweep search` as a user runs it: killed, started again, and read."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsweep.cli import main
from support import Runner

SWEEP = """\
name: small
seed: 7
stand_ins: true
cells: [llama-3-8b@host]
dataset: {sample: 60, eval_fraction: 0.1}
finetune: {epochs: 3, batch_size: 8, learning_rate: 5.0e-3}
search:
  max_seq_length: [16, 128]
  rank: [2, 8]
  dropout: [0.0, 0.5]
load: {points: [{concurrency: 1}], max_tokens: 8}
"""


def test_a_sweep_without_a_search_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "none.yaml"
    file.write_text(re.sub(r"search:\n(  .*\n)+", "", SWEEP))
    assert main(["search", str(file), "--out", str(tmp_path)]) == 2
    assert (
        "no `search` section; see `medsweep init --template paper-search`"
        in capsys.readouterr().err
    )


def test_which_model_has_to_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(SWEEP.replace("cells: [", "cells: [distilgpt2@host, "))
    assert main(["search", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "with --model: standin-distilgpt2, standin-llama-3-8b" in capsys.readouterr().err
    assert main(["search", str(file), "--model", "llama", "--out", str(tmp_path / "out")]) == 2
    assert "unknown model of this sweep 'llama'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "small.yaml").write_text(SWEEP)
    command = Runner(tmp_path, environment).command(
        "search", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out"), "--json"
    )
    folder = tmp_path / "out" / "small" / "search" / "standin-llama-3-8b"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3/3"):
                break
        process.send_signal(signal.SIGKILL)
    recorded = {
        path: path.stat().st_mtime_ns
        for path in (folder / "trials").glob("*.json")
        if json.loads(path.read_text())["status"] == "finished"
    }
    assert recorded
    assert not (folder / "search.parquet").exists()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    assert {path: path.stat().st_mtime_ns for path in recorded} == recorded
    rows = pq.read_table(folder / "search.parquet").to_pylist()
    status = {row["trial"]: row["status"] for row in rows}
    outcome = json.loads(done.stdout)
    assert len(status) == sum(outcome["trials"].values()) == 8
    # Sixteen tokens hold no prompt: a trial that fails is a row with its reason, never a hole.
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 4
    assert all(row["max_seq_length"] == 16 and "hold no prompt" in row["reason"] for row in failed)
    # ASHA gives some of the others up; the first that comes always goes on.
    assert outcome["trials"]["finished"] >= 1
    assert outcome["trials"].get("stopped", 0) + outcome["trials"]["finished"] == 4
    assert {row["epoch"] for row in rows if row["status"] == "finished"} == {1, 2, 3}
    effects = {effect["parameter"]: effect for effect in outcome["effects"]}
    assert set(effects) == {"rank", "dropout"}
    assert all(level["low"] < level["high"] for level in effects["rank"]["levels"])
    assert outcome["best"]["trial"] in status
    assert outcome["cost"] == "tokens_per_s"
    assert (folder / "search.svg").read_text().startswith("<?xml")
    assert not list((folder / "trials").glob("tmp*/adapter"))
