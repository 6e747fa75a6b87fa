import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.finetune.adapter import read_adapter, read_provenance
from medsweep.models.weights import fetch_weights

SWEEP = """\
name: tune
seed: 3
own_models:
  - name: mine-1b
    folder: {folder}
    licence: MIT
    template: llama-3
    stop_tokens: ["<|eot_id|>"]
    context_length: 512
    parameters: 139584
    layers: 2
    hidden_size: 64
    kv_heads: 2
    head_dim: 16
    vocab_size: 1024
cells: [mine-1b@host, llama-3-8b@2xa100-4cpu]
dataset: {{sample: 40, eval_fraction: 0.1}}
finetune: {{epochs: 1, batch_size: 8, learning_rate: 1.0e-2, max_seq_length: 256, rank: 4}}
load: {{points: [{{concurrency: 1}}], max_tokens: 4}}
"""


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token of the hub's."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


def sweep(folder: Path, base: Path) -> str:
    file = folder / "tune.yaml"
    file.write_text(SWEEP.format(folder=base))
    return str(file)


@pytest.fixture
def fake_base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_faults_before_anything_starts(
    tmp_path: Path, fake_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep(tmp_path, fake_base)
    out = ["--out", str(tmp_path / "out")]
    assert main(["finetune", file, "--model", "mine-2b", *out]) == 2
    assert "unknown model of this sweep 'mine-2b' (did you mean 'mine-1b'?)" in (
        capsys.readouterr().err
    )
    assert main(["finetune", file, "--model", "llama-3-8b", *out]) == 2
    assert "llama-3-8b: meta-llama/Meta-Llama-3-8B-Instruct is gated" in capsys.readouterr().err
    assert main(["finetune", file, "--set", "cells=[llama-3-8b@2xa100-4cpu]", *out]) == 2
    assert "no model of this sweep can run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_plan_says_what_a_gated_model_needs(
    tmp_path: Path, fake_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", sweep(tmp_path, fake_base), "--json"]) == 0
    cells = {cell["cell"]: cell["refused"] for cell in json.loads(capsys.readouterr().out)}
    assert "set HF_TOKEN" in cells["llama-3-8b@2xa100-4cpu"]
    assert cells["mine-1b@host"] is None


@pytest.mark.slow
def test_a_user_s_own_model_is_fine_tuned_without_ray(
    tmp_path: Path, fine_tuned: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(shutil.copytree(fetch_weights(fine_tuned.job.weights), tmp_path / "base"))
    command = ["finetune", sweep(tmp_path, base), "--model", "mine-1b", "--no-ray"]
    command += ["--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert [
        line.split(":")[1] for line in said.err.splitlines() if line.startswith("mine-1b:")
    ] == [
        " epoch 0",
        " epoch 1",
    ]
    [found] = json.loads(said.out)
    adapter = read_adapter(Path(found["folder"]))
    assert (adapter.model, adapter.base) == ("mine-1b", base)
    assert adapter.folder.parent == tmp_path / "out" / "tune" / "adapters"
    provenance = read_provenance(adapter.folder)
    assert (provenance["profile"], provenance["basis"]) == ("host", "observed")
    # Made once: the same command says where it is.
    before = (adapter.folder / "adapter.json").stat().st_mtime_ns
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == [found]
    assert (adapter.folder / "adapter.json").stat().st_mtime_ns == before
    # A fault of one model is told, with the exit code of a run that went on.
    wrong = ["--set", "finetune.targets=[c_attn]"]
    assert main([*command, *wrong]) == 1
    [failed] = json.loads(capsys.readouterr().out)
    assert "no module is called c_attn" in failed["failed"]
    assert "q_proj" in failed["failed"]
    # Not to be built on, where that was asked for.
    assert main([*command, "--fresh"]) == 2
    refused = capsys.readouterr().err
    assert f"an earlier one exists: {found['folder']}; delete it" in refused


def test_without_ray_openmp_s_threads_sleep_too() -> None:
    code = """
import os, sys
from importlib.abc import MetaPathFinder
class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print("torch after", os.environ.get("OMP_WAIT_POLICY"))
            sys.exit(7)
sys.meta_path.insert(0, Watch())
from medsweep.cli import main
main(["finetune", sys.argv[1], *sys.argv[2:]])
"""
    demo = Path(__file__).parents[3] / "jobs" / "sweeps" / "demo.yaml"
    environment = {name: each for name, each in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(demo), "--no-ray"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr[-2000:]
    assert done.stdout.strip() == "torch after PASSIVE"
