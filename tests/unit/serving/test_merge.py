"""Merged adapters: PEFT's weights and the live adapter's answers, in every architecture."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapter import Adapter, base_sha256, read_adapter
from medsweep.finetune.lora import add_lora
from medsweep.finetune.save import save_adapter
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines import open_engine
from medsweep.serving.equality import compare_merged
from medsweep.serving.merge import MARKER, merge, merged_folder, merged_settings
from medsweep.serving.protocol import EngineSettings, Generation

STAND_INS = [name for name in MODELS if name.startswith("standin-")]
PROMPTS = ["What is asthma?", "What is gout and how is it treated?"]


def make_adapter(name: str, base: Path, folder: Path, *, std: float = 0.1) -> Adapter:
    """An adapter with weights drawn at random, so that it changes what is said."""
    from transformers import AutoModelForCausalLM

    spec = MODELS[name]
    torch.manual_seed(1)
    model = add_lora(
        AutoModelForCausalLM.from_pretrained(base),
        rank=4,
        alpha=8,
        dropout=0.0,
        targets=spec.lora_targets,
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=std)
    card = {"model": name, "base": str(base), "base_sha256": base_sha256(base)}
    card |= {"template": spec.template, "stop_tokens": list(spec.stop_tokens)}
    save_adapter(folder, model, card=card, epochs=[{"epoch": 1}], provenance={})
    return read_adapter(folder)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def llama(session_cache: Path, corpus: tuple[str, ...]) -> Path:
    return fetch_weights(identify(MODELS["standin-llama-3-8b"], corpus[:100]))


@pytest.fixture
def adapter(llama: Path, own_cache: None, tmp_path: Path) -> Adapter:
    return make_adapter("standin-llama-3-8b", llama, tmp_path / "adapter")


async def answers(settings: EngineSettings, model: str) -> list[str]:
    engine = open_engine(settings)
    texts = []
    for prompt in PROMPTS:
        request = Generation(model, ({"role": "user", "content": prompt},), None, 12)
        texts.append("".join([piece.text async for piece in engine.stream(request)]))
    engine.close()
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("name", STAND_INS)
async def test_it_has_peft_s_weights_and_the_live_adapter_s_answers(
    name: str, session_cache: Path, corpus: tuple[str, ...], tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = fetch_weights(identify(MODELS[name], corpus[:100]))
    adapter = make_adapter(name, base, tmp_path / "adapter")
    folder = merged_folder(adapter, base, "float32")
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter.folder)
    expected = peft.merge_and_unload().state_dict()
    actual = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert actual.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.allclose(actual[key], tensor, atol=1e-6), key
    settings = EngineSettings(
        "continuous", MODELS[name], "float32", cpus=1, base=base, adapters={"mine": adapter}
    )
    live = await answers(settings, "mine")
    merged = merged_settings(settings)
    assert (merged.adapters, merged.base) == ({}, folder)
    assert await answers(merged, "mine") == live
    assert await answers(replace(settings, adapters={}), name) != live


@pytest.mark.slow
def test_the_measured_equality(llama: Path, adapter: Adapter) -> None:
    same = compare_merged(adapter, llama, "float32", PROMPTS, 12)
    assert same.questions == 2
    assert same.equal_share == 1.0
    assert 0 <= same.logit_difference < 1e-3
    # In bfloat16 the sum is rounded to 8 bits, which the sum's parts are not.
    rounded = compare_merged(adapter, llama, "bfloat16", PROMPTS, 12)
    assert rounded.logit_difference > 10 * same.logit_difference
    # It is measured once, and kept beside the weights that it is about.
    folder = merged_folder(adapter, llama, "float32")
    [record] = folder.glob("equality-*.json")
    record.write_text(json.dumps({"questions": 2, "equal_share": 0.5, "logit_difference": 9.0}))
    assert compare_merged(adapter, llama, "float32", PROMPTS, 12).equal_share == 0.5


@pytest.mark.slow
def test_another_model_in_place_of_the_merged_one_is_measured_as_unequal(
    llama: Path, adapter: Adapter
) -> None:
    folder = merged_folder(adapter, llama, "float32")
    shutil.copyfile(llama / "model.safetensors", folder / "model.safetensors")
    (folder / MARKER).write_text(json.dumps({"base_sha256": base_sha256(folder)}))
    other = compare_merged(adapter, llama, "float32", PROMPTS, 12)
    assert other.equal_share < 1.0
    assert other.logit_difference > 0.1


@pytest.mark.slow
def test_merged_weights_are_cached_by_content_and_checked(llama: Path, adapter: Adapter) -> None:
    first = merged_folder(adapter, llama, "float32")
    made = (first / "model.safetensors").stat().st_mtime_ns
    assert merged_folder(adapter, llama, "float32") == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made
    half = merged_folder(adapter, llama, "bfloat16")
    assert half != first
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    content = bytearray((first / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (first / "model.safetensors").write_bytes(content)
    with pytest.raises(StageError, match="the merged weights were changed"):
        merged_folder(adapter, llama, "float32")


@pytest.mark.slow
def test_weights_in_several_files(llama: Path, adapter: Adapter, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = Path(shutil.copytree(llama, tmp_path / "sharded"))
    (base / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(base, max_shard_size="100KB")
    assert len(list(base.glob("*.safetensors"))) > 1
    for source, out in ((base, tmp_path / "many"), (llama, tmp_path / "one")):
        merge(adapter, source, out)
    many, one = (
        AutoModelForCausalLM.from_pretrained(tmp_path / each).state_dict()
        for each in ("many", "one")
    )
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    assert all(torch.equal(many[key], one[key]) for key in one)


@pytest.mark.slow
def test_what_cannot_be_merged(llama: Path, adapter: Adapter, tmp_path: Path) -> None:
    base = Path(shutil.copytree(llama, tmp_path / "quantized"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    with pytest.raises(StageError, match="its weights are quantized"):
        merge(adapter, base, tmp_path / "no")
    assert not (tmp_path / "no").exists()
    settings: Any = EngineSettings("continuous", MODELS["standin-llama-3-8b"], "float32")
    with pytest.raises(InputError, match="0 adapters; only one can be merged"):
        merged_settings(settings)
    with pytest.raises(StageError, match="changed or missing: adapter_model.safetensors"):
        merge(replace(adapter, sha256="0" * 64), llama, tmp_path / "no")
    small = Path(shutil.copytree(llama, tmp_path / "small"))
    config["intermediate_size"] //= 2
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(StageError, match="does not fit its base"):
        merge(adapter, small, tmp_path / "no")
