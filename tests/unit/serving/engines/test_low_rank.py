"""Adapters beside the layers compute what PEFT makes of them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapted import LORA_DEFAULTS, LORA_FIELDS, check_lora, more_than_lora
from medsweep.finetune.adapter import CONFIG_FILE
from medsweep.finetune.lora import add_lora
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import read_pairs, read_scale

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
        return model.using(name)(torch.arange(1, 9)[None]).logits


def close(found: Any, true: Any) -> None:
    """The same but for the order in which sums are made."""
    torch.testing.assert_close(found, true, rtol=1e-4, atol=1e-4)


def true_values(base: Path, made: Any) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), made.folder)
    with torch.inference_mode():
        return model.eval()(torch.arange(1, 9)[None]).logits


def test_each_adapter_is_what_peft_makes_of_it(base: Path, tmp_path: Path) -> None:
    shapes = [(4, ALL), (4, ALL), (2, ALL), (4, ATTENTION), (4, ALL), (4, ATTENTION)]
    made = [adapter(base, tmp_path / str(n), n, *shape) for n, shape in enumerate(shapes)]
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    plain = values(model, None)
    for number, each in enumerate(made):
        model.add(f"n{number}", read_pairs(each.folder))
    for number, each in enumerate(made):
        close(values(model, f"n{number}"), true_values(base, each))
    close(values(model, None), plain)
    names = ["n1", None, "n2", "n3", "n4"]
    mixed = model.logits(names, input_ids=torch.arange(1, 9).repeat(5, 1))
    for row, name in enumerate(names):
        close(mixed[row], values(model, name)[0, -1])
    for gone in ("n0", "n3"):
        model.adapters.drop(gone)
    for number in (1, 4, 5):
        close(values(model, f"n{number}"), true_values(base, made[number]))
    with pytest.raises(ValueError, match="n0"):
        model.using("n0")


def test_the_last_one_goes_and_another_comes(base: Path, tmp_path: Path) -> None:
    one = adapter(base, tmp_path / "one", 1, 4, ATTENTION)
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    plain = values(model, None)
    for name in ("a", "b"):
        model.add(name, read_pairs(one.folder))
    model.adapters.drop("a")
    model.adapters.drop("b")
    close(values(model, None), plain)
    model.add("c", read_pairs(one.folder))
    close(values(model, "c"), true_values(base, one))


def changed(base: Path, folder: Path, **fields: Any) -> Path:
    """The folder of an adapter whose configuration says something else, too."""
    made: Path = adapter(base, folder, 1, 4, ALL).folder
    config = json.loads((made / CONFIG_FILE).read_text())
    (made / CONFIG_FILE).write_text(json.dumps({**config, **fields}))
    return made


def test_the_scale_of_rank_stabilised_adapters(base: Path, tmp_path: Path) -> None:
    made = changed(base, tmp_path / "one", use_rslora=True)
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    model.add("a", read_pairs(made))
    close(values(model, "a"), true_values(base, SimpleNamespace(folder=made)))


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({"use_rslora": True}, True),
        ({"use_rslora": False, "alpha_pattern": {}, "modules_to_save": None}, True),
        ({"layer_replication": [[0, 1]]}, False),
        ({"layers_to_transform": [0]}, True),
        ({"layers_to_transform": 1}, True),
        ({"layers_to_transform": ["0"]}, False),
        ({"layers_to_transform": [0], "layers_pattern": "h"}, True),
        ({"layers_to_transform": [0], "layers_pattern": ["h", "layers"]}, True),
        ({"layers_pattern": "(a+)+$"}, False),
        ({"exclude_modules": ["lm_head", "h.0.mlp.c_fc"]}, True),
        ({"exclude_modules": "lm_head"}, True),
        ({"exclude_modules": "(a+)+$"}, False),
        ({"init_lora_weights": "gaussian"}, True),
        ({"init_lora_weights": "orthogonal"}, True),
        ({"init_lora_weights": False}, True),
        ({"init_lora_weights": "pissa"}, False),
        ({"init_lora_weights": "pissa_niter_4"}, False),
        ({"init_lora_weights": "olora"}, False),
        ({"init_lora_weights": "corda"}, False),
        ({"init_lora_weights": "eva"}, False),
        ({"init_lora_weights": "loftq"}, False),
        ({"alpha_pattern": {"q_proj": 2}}, False),
        ({"use_qalora": True}, False),
        ({"bias": "all"}, False),
    ],
    ids=str,
)
def test_what_is_plain_is_the_same_for_serving_and_for_loading(
    base: Path, tmp_path: Path, fields: dict[str, Any], plain: bool
) -> None:
    made = changed(base, tmp_path / "one", **fields)
    refusals = []
    for check in (read_scale, check_lora):
        try:
            check(made)
        except (InputError, StageError):
            refusals.append(check)
    assert refusals == ([] if plain else [read_scale, check_lora])


def test_the_defaults_are_those_of_peft() -> None:
    from peft import LoraConfig

    config = {**LoraConfig().to_dict(), "peft_type": "LORA"}
    assert more_than_lora(config) == {}
    more = {name: value for name, value in config.items() if name not in LORA_FIELDS and value}
    assert more == LORA_DEFAULTS


@pytest.mark.parametrize(
    "more",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"lora_bias": True},
        {"rank_pattern": {"q_proj": 2}},
        {"peft_type": "IA3"},
    ],
)
def test_what_is_more_than_low_rank_is_refused(
    base: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    made = changed(base, tmp_path / "one", **more)
    [name] = more
    with pytest.raises(InputError, match=f"only plain LoRA can be served, not {name}: "):
        read_pairs(made)


def test_half_a_pair_is_refused(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made = adapter(base, tmp_path / "one", 1, 4, ATTENTION).folder
    (file,) = made.glob("*.safetensors")
    whole = load_file(file)
    save_file(
        {name: whole[name] for name in whole if "layers.1.self_attn.v_proj.lora_B" not in name},
        file,
    )
    with pytest.raises(InputError, match=r"layers.1.self_attn.v_proj has lora_A"):
        read_pairs(made)


def test_an_adapter_of_another_shape_is_refused_whole(base: Path, tmp_path: Path) -> None:
    pairs = read_pairs(adapter(base, tmp_path / "one", 1, 4, ALL).folder)
    model = LoraModel(base, dtype="float32", quantization="none", flash=False)
    place = next(reversed(pairs))
    with pytest.raises(InputError, match="a layer elsewhere, which the base model does not have"):
        model.add("a", {**pairs, "elsewhere": pairs[place]})
    wrong = {**pairs, place: type(pairs[place])(pairs[place].down[1:], pairs[place].up)}
    with pytest.raises(InputError, match=rf"{place} has \d+ inputs and \d+ outputs"):
        model.add("a", wrong)
    plain = values(model, None)
    with pytest.raises(ValueError, match="a"):
        model.using("a")
    close(values(model, None), plain)
