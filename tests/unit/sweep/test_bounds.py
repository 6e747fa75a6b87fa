"""Bounds of a sweep's numbers, and a model that does not fit its tokenizer, through `plan`."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from medsweep.cli import main

SWEEP = """\
name: a
cells: [mine@host]
load: {points: [{concurrency: 1}]}
own_models:
  - name: mine
    folder: FOLDER
    licence: MIT
    template: alpaca
    stop_tokens: ["</s>"]
    context_length: 64
    parameters: 1
    layers: 1
    hidden_size: 1
    kv_heads: 1
    head_dim: 1
    vocab_size: 3
"""


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1e3", "1.5", ".inf", "true"])
def test_a_seed_has_bounds(seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"seed: {seed}\nname: a\ncells: paper\nload: {{points: [{{concurrency: 1}}]}}\n"
    )
    assert main(["validate", str(path)]) == 2
    assert "line 1: seed: " in capsys.readouterr().err
    path.write_text(path.read_text().replace(seed, "4294967295", 1))
    assert main(["validate", str(path)]) == 0


def test_plan_names_what_is_wrong_with_a_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 3}))
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("FOLDER", str(tmp_path)))
    for tokens, reason in (
        ({"a": 0, "</s>": 3}, "tokens up to number 3, and its embedding only 3 rows"),
        ({"a": 0}, "no token '</s>'"),
    ):
        Tokenizer(models.WordLevel(tokens, "a")).save(str(tmp_path / "tokenizer.json"))
        assert main(["plan", str(tmp_path / "sweep.yaml")]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "1 refused" in printed
        assert reason in printed
