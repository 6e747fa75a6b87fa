"""An adapter put on as a copy of another computes what PEFT's own would."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medsweep.finetune.lora import add_lora
from medsweep.serving.engines.alike import alike, only_low_rank
from medsweep.serving.engines.lora import AdapterFiles, LoraModel, read_files

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


@pytest.fixture
def by_peft(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The adapters that PEFT itself has put beside others."""
    from peft import PeftModel

    names, add = [], PeftModel.add_adapter

    def noting(model: Any, name: str, *arguments: Any, **more: Any) -> None:
        names.append(name)
        add(model, name, *arguments, **more)

    monkeypatch.setattr(PeftModel, "add_adapter", noting)
    return names


def test_each_adapter_is_what_peft_makes_of_it(
    base: Path, tmp_path: Path, by_peft: list[str]
) -> None:
    shapes = [(4, ALL), (4, ALL), (2, ALL), (4, ATTENTION), (4, ALL), (4, ATTENTION)]
    made = [adapter(base, tmp_path / str(n), n, *shape) for n, shape in enumerate(shapes)]
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    plain = values(model, None)
    for number, each in enumerate(made):
        model.add(f"n{number}", read_files(each))
    assert by_peft == ["n2", "n3"]  # those that are like none before them
    for number, each in enumerate(made):
        torch.testing.assert_close(values(model, f"n{number}"), true_values(base, each))
    torch.testing.assert_close(values(model, None), plain)
    names = ["n1", None, "n3", "n4"]
    mixed = model.logits(names, input_ids=torch.arange(1, 9).repeat(4, 1))
    for row, name in enumerate(names):
        torch.testing.assert_close(mixed[row], values(model, name)[0, -1])
    for gone in ("n0", "n3"):  # those that others are copies of
        model.drop(gone)
    for number in (1, 4, 5):
        torch.testing.assert_close(values(model, f"n{number}"), true_values(base, made[number]))
    with pytest.raises(ValueError, match="n0"):
        model.activate("n0")


def test_the_last_one_goes_and_another_comes(base: Path, tmp_path: Path) -> None:
    one = adapter(base, tmp_path / "one", 1, 4, ATTENTION)
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    plain = values(model, None)
    for name in ("a", "b"):
        model.add(name, read_files(one))
    model.drop("a")
    model.drop("b")
    torch.testing.assert_close(values(model, None), plain)
    model.add("c", read_files(one))
    torch.testing.assert_close(values(model, "c"), true_values(base, one))


def test_a_tensor_too_few_is_not_passed_over(
    base: Path, tmp_path: Path, by_peft: list[str]
) -> None:
    one = read_files(adapter(base, tmp_path / "one", 1, 4, ALL))
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    model.add("a", one)
    few = {name: tensor for name, tensor in one.tensors.items() if "layers.1" not in name}
    model.add("b", AdapterFiles(one.config, few))
    assert by_peft == ["b"]


def test_which_adapters_are_alike() -> None:
    from peft import LoraConfig

    plain = LoraConfig(r=4, target_modules=ALL, lora_dropout=0.1)
    assert alike(plain, LoraConfig(r=4, target_modules=ALL))
    assert not alike(plain, LoraConfig(r=8, target_modules=ALL))
    assert not alike(plain, LoraConfig(r=4, target_modules=ALL, lora_alpha=32))
    assert not alike(plain, LoraConfig(r=4, target_modules=ATTENTION))
    for more in ({"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"lora_bias": True}):
        assert not only_low_rank(LoraConfig(r=4, target_modules=ALL, **more))
