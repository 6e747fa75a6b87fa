from typing import Any

import pytest
import torch

from medsweep.errors import StageError
from medsweep.finetune.lora import add_lora, cheapen_dropout, drop

LLAMA_LIKE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def tiny(name: str) -> Any:
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    if name == "gpt2":
        config: Any = GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    else:
        config = LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def lora(base: Any, targets: tuple[str, ...]) -> Any:
    return add_lora(base, rank=4, alpha=8, dropout=0.0, targets=targets)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "targets", "listed"),
    [
        ("llama", ("q_proj", "c_attn"), ", ".join(sorted(LLAMA_LIKE))),
        ("gpt2", ("q_proj",), "c_attn, c_fc, c_proj"),
    ],
)
def test_a_wrong_target_lists_the_modules(name: str, targets: tuple[str, ...], listed: str) -> None:
    wrong = targets[-1]
    with pytest.raises(StageError, match=f"no module is called {wrong};") as refused:
        lora(tiny(name), targets)
    assert str(refused.value).endswith(f"this model has {listed}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "targets", "modules"),
    [("llama", LLAMA_LIKE, 14), ("gpt2", ("c_attn", "c_proj", "c_fc"), 8)],
)
def test_every_target_is_trained_and_nothing_else(
    name: str, targets: tuple[str, ...], modules: int
) -> None:
    model = lora(tiny(name), targets)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * modules
    assert all(".lora_A." in key or ".lora_B." in key for key in trained)
    assert {parameter.dtype for parameter in trained.values()} == {torch.float32}
    assert {min(parameter.shape) for parameter in trained.values()} == {4}
    assert {part for key in trained for part in key.split(".") if part in targets} == set(targets)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "targets"), [("llama", LLAMA_LIKE), ("gpt2", ("c_attn",))])
def test_a_new_adapter_changes_nothing_until_it_is_trained(
    name: str, targets: tuple[str, ...]
) -> None:
    base, ids = tiny(name).eval(), torch.arange(10).reshape(1, 10)
    with torch.inference_mode():
        before = base(input_ids=ids).logits
        model = lora(base, targets).eval()
        assert torch.equal(model(input_ids=ids).logits, before)
        for key, parameter in model.named_parameters():
            if ".lora_B." in key:
                parameter.fill_(0.5)
        assert not torch.allclose(model(input_ids=ids).logits, before)


@pytest.mark.slow
def test_its_layers_drop_cheaply() -> None:
    model = add_lora(tiny("llama"), rank=4, alpha=8, dropout=0.25, targets=("q_proj", "v_proj"))
    layers = [each for each in model.modules() if isinstance(each, torch.nn.Dropout)]
    assert [layer.p for layer in layers] == [0.25] * 4
    assert all(layer.forward.func is drop for layer in layers)


def cheap(share: float) -> torch.nn.Dropout:
    layer = torch.nn.Dropout(share)
    cheapen_dropout(layer)
    assert layer.forward.func is drop  # type: ignore[attr-defined]
    return layer


@pytest.mark.parametrize("share", [0.05, 0.25, 0.9])
def test_the_share_is_dropped_and_the_rest_scaled_up(share: float) -> None:
    torch.manual_seed(1)
    ones = torch.ones(401, 3, 333)  # no multiple of four
    out = cheap(share)(ones)
    deviation = (share * (1 - share) / ones.numel()) ** 0.5
    assert (out == 0).double().mean().item() == pytest.approx(share, abs=4 * deviation)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)])


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (cheap(0.5)(torch.ones(1_000_000)) != 0).double() - 0.5
    for apart in (1, 2, 3, 4, 8):
        together = (kept[apart:] * kept[:-apart]).mean().item() * 4
        assert abs(together) < 0.005  # five standard deviations


def test_gradients_go_where_the_input_went_and_a_seed_repeats_it() -> None:
    layer, given = cheap(0.25), torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    out = layer(given)
    out.sum().backward()
    assert given.grad is not None
    torch.testing.assert_close(given.grad * given, out)
    torch.manual_seed(3)
    assert torch.equal(layer(given), out)


def test_nothing_is_dropped_when_the_model_is_asked() -> None:
    given = torch.randn(9)
    assert torch.equal(cheap(0.25).eval()(given), given)
