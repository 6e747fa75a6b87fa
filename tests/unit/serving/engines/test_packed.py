"""Packed weights compute what they did before, with adapters on them too."""

import copy
import platform
from pathlib import Path
from typing import Any

import pytest

from medsweep.finetune.lora import add_lora
from medsweep.serving.engines import packed
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import read_pairs
from medsweep.serving.engines.packed import SMALLEST, pack_weights

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.slow,  # imports PEFT
    pytest.mark.skipif(
        platform.machine() not in packed.MACHINES or not torch.backends.mkldnn.is_available(),
        reason="PyTorch has no oneDNN products for this machine",
    ),
]

WIDTH = 256
TARGETS = ["q_proj", "down_proj"]


@pytest.fixture
def plain() -> Any:
    """A Llama whose embedding is its output layer too."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


def same(one: Any, other: Any) -> None:
    """Equal but for rounding: sums are taken in another order."""
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def values(model: Any, rows: int, length: int) -> Any:
    torch.manual_seed(rows)
    with torch.inference_mode():
        return model(torch.randint(0, 512, (rows, length))).logits


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 1), (16, 1), (2, 40)])
def test_the_same_values(plain: Any, rows: int, length: int) -> None:
    changed = copy.deepcopy(plain)
    # q, o, gate, up and down of two blocks, and the output; k and v are below the bound.
    assert pack_weights(changed) == 11
    same(values(changed, rows, length), values(plain, rows, length))


def test_the_same_greedy_tokens_from_generate(plain: Any) -> None:
    changed = copy.deepcopy(plain)
    pack_weights(changed)
    torch.manual_seed(1)
    ids = torch.randint(0, 512, (3, 6))
    settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "do_sample": False}
    said = [model.generate(ids, pad_token_id=0, **settings).tolist() for model in (changed, plain)]
    assert said[0] == said[1]


def test_only_an_embedding_that_is_the_output_too_is_in_memory_twice(plain: Any) -> None:
    embedding, first = plain.model.embed_tokens.weight, plain.model.layers[0]
    pack_weights(plain)
    assert plain.model.embed_tokens.weight is embedding
    assert embedding.numel() == 512 * WIDTH
    assert plain.lm_head.weight is embedding
    assert first.mlp.up_proj.weight.numel() == 0
    assert first.self_attn.k_proj.weight.numel() == WIDTH * WIDTH // 2 < SMALLEST


def test_a_processor_without_these_products_keeps_its_weights(
    plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MACHINES", ("another",))
    assert pack_weights(plain) == 0
    assert plain.model.layers[0].mlp.up_proj.weight.numel() == 3 * WIDTH * WIDTH


def test_float16_is_left_alone(plain: Any) -> None:
    assert pack_weights(plain.to(torch.float16)) == 0


@pytest.mark.skipif(
    not packed._multiplies(torch.bfloat16), reason="oneDNN has no bfloat16 on this CPU"
)
def test_bfloat16_differs_by_its_rounding(plain: Any) -> None:
    expected = values(plain, 3, 1)
    assert pack_weights(plain.to(torch.bfloat16)) == 11
    torch.testing.assert_close(values(plain, 3, 1).float(), expected, rtol=0.05, atol=0.2)


def test_gpt2_s_layers_have_their_weights_transposed() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    config = GPT2Config(vocab_size=512, n_embd=WIDTH, n_layer=2, n_head=4, initializer_range=0.2)
    model = GPT2LMHeadModel(config).eval()
    expected = values(model, 3, 7)
    assert pack_weights(model) == 9  # four of each block, and the output
    same(values(model, 3, 7), expected)


def test_adapters_go_on_and_off(plain: Any, tmp_path: Path) -> None:
    plain.save_pretrained(tmp_path)
    before = values(plain, 2, 5)
    tuned = add_lora(plain, rank=4, alpha=8, dropout=0.0, targets=TARGETS).eval()
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.save_pretrained(tmp_path / "adapter")
    expected = values(tuned, 2, 5)

    served = LoraModel(tmp_path, dtype="float32", quantization="none", flash=False)
    assert served.model.model.layers[0].mlp.up_proj.weight.numel() == 0  # it is packed
    served.add("one", read_pairs(tmp_path / "adapter"))
    same(values(served.using("one"), 2, 5), expected)
    same(values(served.using(None), 2, 5), before)
    served.adapters.drop("one")
    same(values(served.using(None), 2, 5), before)
    assert not torch.allclose(expected, before, atol=1e-2)
