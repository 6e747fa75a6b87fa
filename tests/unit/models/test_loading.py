"""Folders of models come from other people: nothing in them is run, and no hub is asked."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import InputError
from medsweep.models.loading import (
    DeviceModel,
    answer_cut,
    check_model_folder,
    load_model,
    load_tokenizer,
)

EVIL = "import sys\nsys.modules['evil_code_ran'] = sys\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose configuration names the Python file beside it."""
    import huggingface_hub

    def never(*_: object, **__: object) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    monkeypatch.setattr("builtins.input", never)
    (tmp_path / "modeling_evil.py").write_text(EVIL)
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "modeling_evil.EvilConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("load", [load_model, load_tokenizer, check_model_folder])
def test_code_beside_the_weights_is_never_run(folder: Path, load: Any) -> None:
    with pytest.raises(InputError, match=r"config\.json: names code that comes with the model"):
        load(folder)
    assert "evil_code_ran" not in sys.modules


def test_nor_is_a_tokenizer_s(folder: Path) -> None:
    (folder / "config.json").unlink()
    config = {"auto_map": {"AutoTokenizer": ["modeling_evil.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"tokenizer_config\.json: names code"):
        load_tokenizer(folder)
    assert "evil_code_ran" not in sys.modules


def test_nor_are_kernels_fetched(folder: Path) -> None:
    config = {"model_type": "llama", "_attn_implementation": "evil/attention"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="attention kernels"):
        check_model_folder(folder)


def test_an_adapter_is_no_base_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')
    check_model_folder(folder)
    (folder / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "evil/model"}'
    )
    with pytest.raises(InputError, match=r"holds adapter_config\.json"):
        load_model(folder)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"])
def test_a_configuration_that_cannot_be_read(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json: cannot be read as JSON"):
        check_model_folder(folder)


def test_weights_that_are_pickles_are_not_loaded(folder: Path) -> None:
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    (folder / "config.json").write_text(config.to_json_string())
    model = transformers.AutoModelForCausalLM.from_config(config)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_model(folder)
    model.save_pretrained(folder)
    assert load_model(folder).config.hidden_size == 8


def test_attention_is_never_planned_anew_for_each_length(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config

    tiny = GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=16, n_positions=8)
    AutoModelForCausalLM.from_config(tiny).save_pretrained(tmp_path)
    torch.backends.cuda.enable_cudnn_sdp(True)
    load_model(tmp_path)
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_an_answer_is_cut_where_the_tokenizer_counts(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    assert answer_cut(tmp_path, 5) is None
    bytewise = Tokenizer(
        models.BPE(
            {each: place for place, each in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []
        )
    )
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.save(str(tmp_path / "tokenizer.json"))
    cut = answer_cut(tmp_path, 5)
    assert cut is not None
    assert (cut("aspirin"), cut("gout."), cut("")) == (
        ("aspir", True),
        ("gout.", False),
        ("", False),
    )


class Doubling:
    """A model that doubles up to two values, and only on the CPU (fake)."""

    def __init__(self, *, loads: bool) -> None:
        self.loads = loads
        self.devices: list[str] = []

    def eval(self) -> "Doubling":
        return self

    def to(self, device: str) -> "Doubling":
        import torch

        if not self.loads:
            raise torch.OutOfMemoryError("CUDA out of memory.\nCompile with TORCH_USE_CUDA_DSA.")
        self.devices.append(device)
        return self

    def __call__(self, values: Any) -> Any:
        import torch

        if self.devices[-1] != "cpu" or len(values) > 2:
            raise torch.OutOfMemoryError
        return 2 * values


def test_a_full_device_is_left_for_the_cpu() -> None:
    import torch

    fake = Doubling(loads=True)
    model = DeviceModel(fake, Path("nli"), "cpu:0")
    assert model.device == "cpu:0"
    assert model(values=torch.ones(2)).tolist() == [2.0, 2.0]
    assert (model.device, fake.devices) == ("cpu", ["cpu:0", "cpu"])
    with pytest.raises(torch.OutOfMemoryError):
        model(values=torch.ones(3))


def test_a_device_that_takes_no_model_is_named_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, remedy in (
        ("cuda:1", "cuda:1: CUDA out of memory; name another device"),
        (None, "cuda: CUDA out of memory; set CUDA_VISIBLE_DEVICES= to use the CPU"),
    ):
        with pytest.raises(InputError) as refused:
            DeviceModel(Doubling(loads=False), Path("nli"), device)
        assert str(refused.value) == f"nli: does not load onto the device {remedy}"
