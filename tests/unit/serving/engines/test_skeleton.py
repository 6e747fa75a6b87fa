"""An adapter's layers that were made apart compute what PEFT's own on the model do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.finetune.lora import add_lora
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.skeleton import can_be_made_apart

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow  # imports PEFT

ATTENTION = ["q_proj", "v_proj"]
ALL = [*ATTENTION, "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, seed: int, rank: int, targets: list[str]) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    model = add_lora(model, rank=rank, alpha=8, dropout=0.1, targets=targets)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return SimpleNamespace(folder=folder)


def values(model: LoraModel, name: str | None) -> Any:
    with torch.inference_mode():
        return model.activate(name)(torch.arange(1, 9)[None]).logits


def true_values(base: Path, made: Any) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), made.folder)
    with torch.inference_mode():
        return model.eval()(torch.arange(1, 9)[None]).logits


def test_each_adapter_is_what_peft_makes_of_it(base: Path, tmp_path: Path) -> None:
    made = [
        adapter(base, tmp_path / "a", 1, 4, ALL),
        adapter(base, tmp_path / "b", 2, 2, ALL),
        adapter(base, tmp_path / "c", 3, 4, ATTENTION),
    ]
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    plain, apart = values(model, None), []
    for number, each in enumerate(made):
        files = model.read(each)
        apart.append(files.layers is not None)
        model.add(f"n{number}", files)
    assert apart == [False, True, True]  # the first one makes the model what others are put on
    for number, each in enumerate(made):
        torch.testing.assert_close(values(model, f"n{number}"), true_values(base, each))
    torch.testing.assert_close(values(model, None), plain)
    mixed = model.logits(["n1", None, "n2"], input_ids=torch.arange(1, 9).repeat(3, 1))
    for row, name in enumerate(("n1", None, "n2")):
        torch.testing.assert_close(mixed[row], values(model, name)[0, -1])
    model.drop("n1")
    torch.testing.assert_close(values(model, "n2"), true_values(base, made[2]))
    with pytest.raises(ValueError, match="n1"):
        model.activate("n1")


def test_layers_that_no_longer_have_a_place_are_put_on_by_peft(base: Path, tmp_path: Path) -> None:
    few, all_of_them = (
        adapter(base, tmp_path / "few", 1, 4, ATTENTION),
        adapter(base, tmp_path / "all", 2, 2, ALL),
    )
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    model.add("few", model.read(few))
    files = model.read(all_of_them)
    assert files.layers is not None
    model.add("all", files)  # `down_proj` holds no adapters yet
    torch.testing.assert_close(values(model, "all"), true_values(base, all_of_them))
    again = model.read(few)
    model.drop("few")
    model.drop("all")  # the last one: PEFT has left the model
    model.add("again", again)
    torch.testing.assert_close(values(model, "again"), true_values(base, few))


def test_what_needs_the_weights_is_left_to_peft() -> None:
    from peft import LoraConfig

    assert can_be_made_apart(LoraConfig(target_modules=ALL))
    assert not can_be_made_apart(LoraConfig(target_modules=ALL, use_dora=True))
    assert not can_be_made_apart(LoraConfig(target_modules=ALL, init_lora_weights="pissa"))
    assert not can_be_made_apart(LoraConfig(target_modules=ALL, modules_to_save=["lm_head"]))
