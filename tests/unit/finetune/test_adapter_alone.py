"""What others do with an adapter: PEFT and transformers alone, and the verbs for it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from medsweep.cli import main
from medsweep.finetune.adapter import read_adapter
from medsweep.models.templates import PAPER_INSTRUCTION, TEMPLATES, Message

pytestmark = pytest.mark.slow

MESSAGES: list[Message] = [
    {"role": "system", "content": PAPER_INSTRUCTION},
    {"role": "user", "content": "What is asthma?"},
]


@pytest.fixture
def adapter(fine_tuned: Any, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(fine_tuned.job.folder, tmp_path / "adapter"))


def first_logits(model: Any, folder: Path) -> Any:
    """Do what the model card says, and return the logits of the answer's first token.

    Not the answer: after a near-tie another processor may take another turn.
    """
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(folder)
    settings = GenerationConfig.from_pretrained(folder, max_new_tokens=12)
    assert settings.eos_token_id == tokenizer.convert_tokens_to_ids(
        ["<|end_of_text|>", "<|eot_id|>"]
    )
    inputs = tokenizer.apply_chat_template(
        MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    prompt = tokenizer(TEMPLATES["llama-3"].render(MESSAGES), add_special_tokens=False)
    assert inputs["input_ids"][0].tolist() == prompt["input_ids"]
    output = model.generate(
        **inputs, generation_config=settings, output_logits=True, return_dict_in_generate=True
    )
    assert tokenizer.decode(output.sequences[0, inputs["input_ids"].shape[1] :])
    return output.logits[0]


def test_peft_alone_loads_it_and_the_merged_model_answers_alike(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    alone = first_logits(AutoPeftModelForCausalLM.from_pretrained(adapter), adapter)
    base = AutoModelForCausalLM.from_pretrained(read_adapter(adapter).base)
    assert not torch.allclose(alone, first_logits(base, adapter), atol=0.1)
    out = tmp_path / "merged"
    assert main(["adapters", "merge", str(adapter), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(out)}
    assert not (out / "adapter_config.json").exists()
    merged = first_logits(AutoModelForCausalLM.from_pretrained(out), out)
    assert torch.allclose(merged, alone, atol=1e-3)
    # What is there is not written over.
    assert main(["adapters", "merge", str(adapter), "--out", str(out)]) == 2
    assert "already exists; give another folder" in capsys.readouterr().err


def test_list_and_show(adapter: Path, fine_tuned: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters", "list", str(adapter.parent), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["model"], row["epochs"], row["problem"]) == ("standin-llama-3-8b", 3, None)
    assert row["eval_loss"] == pytest.approx(fine_tuned.rows[-1]["eval_loss"], abs=1e-4)
    assert main(["adapters", "show", str(adapter)]) == 0
    shown = capsys.readouterr().out
    for needed in ("rank: 8", "dataset_sha256: hash-of-the-data", "recipe_sha256: ", "eval_loss"):
        assert needed in shown
    assert main(["adapters", "show", str(adapter), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["training"]) == 4
    assert "tiny stand-in" in (adapter / "README.md").read_text()


def test_verify(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapters", "verify", str(adapter)]) == 0
    assert capsys.readouterr().out.count("ok    ") == 3
    # Its base elsewhere is found where the user says.
    moved = Path(shutil.copytree(read_adapter(adapter).base, tmp_path / "base"))
    assert main(["adapters", "verify", str(adapter), "--base", str(moved)]) == 0
    capsys.readouterr()
    content = bytearray((moved / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (moved / "model.safetensors").write_bytes(content)
    assert main(["adapters", "verify", str(adapter), "--base", str(moved)]) == 1
    said = capsys.readouterr()
    assert "FAILED  base model is the one it was trained on" in said.out
    assert "was trained on standin-llama-3-8b" in said.err
    (adapter / "chat_template.jinja").write_text("another")
    assert main(["adapters", "verify", str(adapter), "--json"]) == 1
    [check] = json.loads(capsys.readouterr().out)
    assert "changed or missing: chat_template.jinja" in check["problem"]


def test_an_adapter_that_does_not_fit_its_base_is_found(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    from medsweep.models.cache import file_sha256

    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor[:, :5].contiguous() for name, tensor in tensors.items()}, weights)
    card = json.loads((adapter / "adapter.json").read_text())
    digest = file_sha256(weights)
    card |= {"sha256": digest, "files": {**card["files"], weights.name: digest}}
    (adapter / "adapter.json").write_text(json.dumps(card))
    assert main(["adapters", "verify", str(adapter)]) == 1
    said = capsys.readouterr()
    assert "FAILED  loads with PEFT and computes" in said.out
    assert "size mismatch" in said.err


def test_push_and_faults(adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"file://{tmp_path}/shelf/one"
    assert main(["adapters", "push", str(adapter), target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pushed"] == target
    assert read_adapter(tmp_path / "shelf" / "one").sha256 == read_adapter(adapter).sha256
    (tmp_path / "empty").mkdir()
    assert main(["adapters", "show", str(tmp_path / "empty")]) == 1
    assert "not a complete adapter" in capsys.readouterr().err
    for action in ("show", "list"):
        assert main(["adapters", action, str(tmp_path / "none")]) == 2
        assert "no such folder" in capsys.readouterr().err


def test_a_base_that_is_gone(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = json.loads((adapter / "adapter.json").read_text())
    (adapter / "adapter.json").write_text(json.dumps({**card, "base": str(tmp_path / "gone")}))
    assert main(["adapters", "merge", str(adapter), "--out", str(tmp_path / "merged")]) == 1
    assert "takes --base" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
