import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.config import load_config
from medsweep.errors import ConfigError, InputError
from medsweep.models.catalog import MODELS
from medsweep.models.own import OwnModelSpec
from medsweep.models.weights import fetch_weights, identify
from medsweep.sweep.spec import SweepSpec

OWN: dict[str, Any] = {
    "name": "biogpt-mine",
    "hub_id": "me/biogpt",
    "revision": "0" * 40,
    "licence": "MIT",
    "template": "alpaca",
    "stop_tokens": ["</s>"],
    "context_length": 1024,
    "parameters": 1_000_000,
    "layers": 2,
    "hidden_size": 64,
    "kv_heads": 4,
    "head_dim": 16,
    "vocab_size": 1000,
}


def without(*names: str, **changes: Any) -> dict[str, Any]:
    return {**{name: value for name, value in OWN.items() if name not in names}, **changes}


def test_it_has_the_form_of_the_catalogue_s_models() -> None:
    entry = asdict(OwnModelSpec.model_validate(OWN).model())
    assert entry["source"] == "own"
    assert entry["stop_tokens"] == ("</s>",)
    assert "q_proj" in entry["lora_targets"]
    assert {name: entry[name] for name in OWN if name != "stop_tokens"} == without("stop_tokens")
    assert "biogpt-mine" not in MODELS


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({**OWN, "name": "mistral-7b"}, "the catalogue has a model 'mistral-7b' already"),
        ({**OWN, "template": "alpacca"}, "did you mean 'alpaca'"),
        (without("revision"), "a commit. together"),
        (without("hub_id", "revision"), "give either `hub_id`"),
        ({**OWN, "folder": "models/mine"}, "give either `hub_id`"),
        ({**OWN, "stop_tokens": []}, "at least 1"),
        ({**OWN, "hub_id": "https://hub/me/x"}, "pattern"),
    ],
)
def test_faults(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        OwnModelSpec.model_validate(entry)


SWEEP = """\
name: mine
own_models:
  - name: mine-1b
    folder: FOLDER
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
cells: [mine-1b@1xv100-1cpu]
models: [mine-1b]
load: {points: [{concurrency: 1}]}
"""


def test_a_sweep_names_it_in_its_cells(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.replace("FOLDER", str(tmp_path)))
    spec = load_config(SweepSpec, file)
    assert spec.cells == ["mine-1b@1xv100-1cpu"]
    assert spec.catalog.models["mine-1b"].folder == str(tmp_path)


def test_a_fault_of_the_entry_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.replace("llama-3", "llama3"))
    with pytest.raises(ConfigError, match=re.escape("line 6: own_models[0].template: unknown")):
        load_config(SweepSpec, file)


def test_the_folder_s_files_are_its_revision(tmp_path: Path) -> None:
    own = OwnModelSpec.model_validate(without("hub_id", "revision", folder=str(tmp_path)))
    spec = own.model()
    with pytest.raises(InputError, match=r"no model here; it needs config\.json"):
        identify(spec, [])
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    one = identify(spec, ["texts do not matter"])
    assert re.fullmatch(r"folder-[0-9a-f]{16}", one.revision)
    assert identify(spec, []).revision == one.revision
    assert fetch_weights(one) == tmp_path
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert identify(spec, []).revision != one.revision
