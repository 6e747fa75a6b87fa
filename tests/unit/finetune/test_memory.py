from dataclasses import replace
from typing import Any

import pytest

from medsweep.finetune.memory import (
    Settings,
    _mlp_size,
    advice,
    choose,
    finetune_memory,
    lora_weights,
    settings_that_fit,
)
from medsweep.finetune.recipe import Recipe
from medsweep.hardware.profile import GIB
from medsweep.models.catalog import MODELS

LLAMA = MODELS["llama-3-8b"]


def settings(workers: int = 1, **recipe: Any) -> Settings:
    """Llama 3 in bfloat16, 8 sequences per worker."""
    given = {"micro_batch_size": 8, "gradient_checkpointing": False, **recipe}
    return Settings(LLAMA, Recipe(batch_size=8 * workers, **given), "bfloat16", workers)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("distilgpt2", 3072),
        ("gemma-1.1-7b", 24576),
        ("llama-3-8b", 14336),
        ("llama-2-7b", 11008),
        ("mistral-7b", 14336),
        ("smollm2-135m", 1536),
    ],
)
def test_the_width_of_the_mlp_follows_from_the_weights(name: str, size: int) -> None:
    # `intermediate_size` of each repository's config.json; GPT-2's is 4 times its width.
    assert _mlp_size(MODELS[name]) == pytest.approx(size, rel=0.05)


def test_lora_weights() -> None:
    # 32 layers x 16 x (q and o 8192 each, k and v 5120 each, gate, up and down 18432 each)
    expected = 32 * 16 * (2 * 8192 + 2 * 5120 + 3 * 18432)
    assert lora_weights(LLAMA, 16, LLAMA.lora_targets) == pytest.approx(expected, rel=0.001)
    assert lora_weights(LLAMA, 32, ("q_proj",)) == 32 * 32 * 8192


def test_quantized_weights_are_those_of_the_blocks() -> None:
    # Llama 3: two tables of 128,256 x 4,096 stay in 16 bits.
    tables = 2 * 128_256 * 4096
    need = finetune_memory(settings(quantization="nf4"))
    assert need.weights == pytest.approx((LLAMA.parameters - tables) * 0.55 + tables * 2)
    assert finetune_memory(settings()).weights == LLAMA.parameters * 2


def test_each_knob_saves_what_it_says() -> None:
    need = finetune_memory(settings())
    halved = finetune_memory(settings(micro_batch_size=4))
    assert halved.activations == need.activations / 2
    # All logits are kept in 16 bits, those of a chunk are in float32 twice.
    chunk = 1024 * LLAMA.vocab_size * 8
    assert need.logits == 8 * 2048 * LLAMA.vocab_size * 2 + chunk
    assert halved.logits - chunk == (need.logits - chunk) / 2
    again = finetune_memory(settings(gradient_checkpointing=True))
    assert again.activations < need.activations / 10
    assert (again.weights, again.logits) == (need.weights, need.logits)
    two, three = (
        finetune_memory(settings(strategy=name, workers=2)) for name in ("zero2", "zero3")
    )
    # Of 16 bytes a trained weight, 12 are spread; a buffer holds 2^24 gradients in float32.
    assert two.adapters == pytest.approx(need.adapters * 10 / 16 + 2**26)
    assert two.adapters < need.adapters
    assert two.weights == need.weights
    # A shard, and 1 GiB of gathered weights in 16 bits with a table of 128,256 x 4,096.
    assert three.weights == need.weights / 2 + 2**30 + 2 * 128_256 * 4096


def test_what_zero3_gathers_is_no_more_than_the_model() -> None:
    """GPT-2's 82 million float32 weights are gathered all: a shard comes on top of them."""
    small, recipe = MODELS["distilgpt2"], Recipe(strategy="zero3", batch_size=4)
    need = {
        workers: finetune_memory(Settings(small, recipe, "float32", workers)).weights
        for workers in (1, 4)
    }
    assert need == {1: small.parameters * 4, 4: small.parameters * (4 + 4 / 4)}


def test_the_paper_s_recipe_fits_where_the_paper_ran_it() -> None:
    # Llama 3 on 4 bits on one A100 with 40 GB; distilgpt2 on a V100 with 16.
    nf4 = settings(quantization="nf4", micro_batch_size=1)
    assert settings_that_fit(nf4, 40 * GIB) == nf4
    small = MODELS["distilgpt2"]
    recipe = Recipe(
        micro_batch_size=1, gradient_checkpointing=False, max_seq_length=1024, batch_size=1
    )
    one = Settings(small, recipe, "float16")
    assert settings_that_fit(one, 16 * GIB) == one


def test_what_is_left_open_is_chosen_so_that_it_fits() -> None:
    free = settings(micro_batch_size=None, gradient_checkpointing=None)
    roomy = finetune_memory(settings()).total
    assert choose(free, roomy).tokens == settings().tokens == 8 * 2048
    # As many tokens as fit, not half of the rows.
    less = choose(free, int(0.9 * roomy))
    assert 0.8 * 8 * 2048 < less.tokens < 8 * 2048
    assert finetune_memory(less).total <= 0.9 * roomy
    assert finetune_memory(replace(less, pass_tokens=less.tokens + 1)).total > 0.9 * roomy
    assert (less.rows, less.recipe.gradient_checkpointing) == (8, False)
    again = choose(settings(micro_batch_size=None, gradient_checkpointing=None), 22 * GIB)
    # Not one full row fits, so activations are recomputed, for more rows.
    assert again.recipe.gradient_checkpointing
    assert again.tokens > 2048
    assert finetune_memory(again).total <= 22 * GIB
    # What the recipe states stays, whether it fits or not.
    assert choose(settings(), roomy) == settings()
    assert choose(settings(), GIB) == settings()
    least = choose(free, GIB)
    assert (least.tokens, least.recipe.gradient_checkpointing) == (2048, True)


def test_evaluation_counts_where_it_needs_more_than_a_step() -> None:
    need = finetune_memory(settings(gradient_checkpointing=True, micro_batch_size=1))
    # Keys and values of 2,048 tokens (131,072 bytes each in 16 bits), one block's values, and the
    # logits, which are more than the keys.
    assert need.evaluation > need.logits > 2048 * 131_072
    assert need.evaluation < need.activations + need.logits
    # Full attention heads and a small vocabulary: the answers need more than the loss does.
    wide = replace(LLAMA, kv_heads=256, vocab_size=1000)
    recipe = Recipe(batch_size=1, gradient_checkpointing=True)
    need = finetune_memory(Settings(wide, recipe, "bfloat16"))
    assert need.evaluation > 2048 * wide.kv_bytes_per_token(2)
    assert need.total > need.evaluation + need.weights + need.adapters


def test_the_cheapest_change_comes_first() -> None:
    asked = settings()
    total = finetune_memory(asked).total
    assert settings_that_fit(asked, total) == asked
    assert settings_that_fit(asked, total - 1) == settings(micro_batch_size=4)
    fitting = settings_that_fit(asked, 12 * GIB)
    assert fitting is not None
    recipe = fitting.recipe
    assert (fitting.rows, recipe.gradient_checkpointing, recipe.quantization) == (1, True, "nf4")
    assert finetune_memory(fitting).total <= 12 * GIB
    assert settings_that_fit(asked, 2 * GIB) is None


def test_zero3_is_advised_where_there_are_two_workers() -> None:
    two = settings(quantization="nf4", workers=2, micro_batch_size=1, gradient_checkpointing=True)
    available = finetune_memory(two).total - 1
    assert "finetune.strategy: zero3" in advice(two, available)
    one = replace(two, workers=1)
    assert "finetune.max_seq_length: 1024" in advice(one, available)


def test_zero3_is_not_advised_where_it_takes_more_memory() -> None:
    """SmolLM2 in float32: 0.54 GB, or a shard of 0.27 and 0.54 gathered."""
    recipe = Recipe(batch_size=2, gradient_checkpointing=True)
    two = Settings(MODELS["smollm2-135m"], recipe, "float32", workers=2)
    total = finetune_memory(two).total
    assert finetune_memory(two.changed(strategy="zero3")).total > total
    assert advice(two, total - 1).endswith("): finetune.quantization: nf4")


def test_advice_names_the_fields_to_change() -> None:
    said = advice(settings(), 24 * GIB)
    assert said.startswith("this would fit (")
    assert said.endswith(
        " of 24.0 GiB): finetune.micro_batch_size: 1, finetune.gradient_checkpointing: true"
    )
    assert "no settings make llama-3-8b fit into 2.0 GiB" in advice(settings(), 2 * GIB)
    assert "something else" in advice(settings(micro_batch_size=1), 500 * GIB)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-3-8b", "mistral-7b", "smollm2-135m"])
@pytest.mark.parametrize("dropout", [0.25, 0.0])
def test_activations_are_those_that_pytorch_saves(name: str, dropout: float) -> None:
    """Count what is saved for the backward pass of a real size, on tensors without memory."""
    import torch
    import transformers

    from medsweep.finetune.lora import add_lora

    spec = MODELS[name]
    kind = "Mistral" if name.startswith("mistral") else "Llama"
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=100,
        hidden_size=spec.hidden_size,
        intermediate_size=_mlp_size(spec),
        num_hidden_layers=2,
        num_attention_heads=spec.hidden_size // spec.head_dim,
        num_key_value_heads=spec.kv_heads,
    )
    tokens = 64
    saved: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        if tensor.dim() >= 2 and not isinstance(tensor, torch.nn.Parameter):
            saved[id(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
            kept.append(tensor)
        return tensor

    kept: list[Any] = []
    with torch.device("meta"):
        base = transformers.AutoModelForCausalLM.from_config(config)
        model = add_lora(base, rank=16, alpha=16, dropout=dropout, targets=spec.lora_targets)
        model.train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ids = torch.zeros((1, tokens), dtype=torch.long)
            mask = torch.ones((1, 1, tokens, tokens), dtype=torch.bool)
            model(input_ids=ids, attention_mask=mask, use_cache=False)
    weights = {id(one.untyped_storage()) for one in model.parameters()}
    measured = sum(size for key, size in saved.items() if key not in weights)
    recipe = Recipe(dropout=dropout, batch_size=1, max_seq_length=tokens)
    asked = Settings(spec, recipe, "float32")
    # The block's values come from the whole spec, of which two layers are taken.
    counted = finetune_memory(asked).activations * 2 / spec.layers
    assert counted == pytest.approx(measured, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.25, 0.0])
def test_in_16_bits_no_input_is_kept_in_float32(dropout: float) -> None:
    """Count what autocast saves on a CPU; PEFT's copies in float32 would be half as much again."""
    import torch
    import transformers

    from medsweep.finetune.lora import add_lora

    spec, tokens = MODELS["smollm2-135m"], 64
    config = transformers.LlamaConfig(
        vocab_size=100,
        hidden_size=spec.hidden_size,
        intermediate_size=_mlp_size(spec),
        num_hidden_layers=2,
        num_attention_heads=spec.hidden_size // spec.head_dim,
        num_key_value_heads=spec.kv_heads,
    )
    base = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    base.requires_grad_(False)
    model = add_lora(base, rank=16, alpha=16, dropout=dropout, targets=spec.lora_targets).train()
    saved: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        if tensor.dim() >= 2:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        model(input_ids=torch.zeros((1, tokens), dtype=torch.long), use_cache=False)
    for one in model.parameters():
        saved.pop(one.untyped_storage().data_ptr(), None)
    # The trained weights are kept too, cast to 16 bits.
    lora = 2 * sum(one.numel() for one in model.parameters() if one.requires_grad)
    measured = sum(each.untyped_storage().nbytes() for each in saved.values()) - lora
    recipe = Recipe(dropout=dropout, batch_size=1, max_seq_length=tokens)
    counted = finetune_memory(Settings(spec, recipe, "bfloat16")).activations * 2 / spec.layers
    assert counted == pytest.approx(measured, rel=0.1)
