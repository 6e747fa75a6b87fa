"""Gemma in float16: its residual stream leaves the range of float16, and is kept in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gpu.models import make_overflowing_gemma
from medsweep.finetune.lora import add_lora
from medsweep.models.catalog import LLAMA_LIKE
from medsweep.models.loading import load_model

IDS = torch.arange(24).reshape(2, 12)
RANGE = torch.finfo(torch.float16).max


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gemma")
    make_overflowing_gemma(folder)
    return folder


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=IDS, use_cache=False).logits.float()


def largest(model: Any) -> tuple[float, float]:
    """Largest value of the products inside the MLPs, and of their outputs."""
    seen: dict[str, float] = {"input": 0.0, "output": 0.0}

    def note(_: Any, given: Any, output: Any) -> None:
        seen["input"] = max(seen["input"], float(given[0].abs().max()))
        seen["output"] = max(seen["output"], float(output.abs().max()))

    hooks = [layer.mlp.down_proj.register_forward_hook(note) for layer in model.model.layers]
    logits(model)
    for hook in hooks:
        hook.remove()
    return seen["input"], seen["output"]


def test_a_gemma_that_overflows_float16_answers_as_in_float32(gemma: Path) -> None:
    from transformers import AutoModelForCausalLM

    exact = load_model(gemma, dtype=torch.float32)
    assert min(largest(exact)) > RANGE
    plain = AutoModelForCausalLM.from_pretrained(gemma, dtype=torch.float16)
    assert logits(plain).isnan().any()
    half = load_model(gemma, dtype=torch.float16)
    assert {weight.dtype for weight in half.parameters()} == {torch.float16}
    expected, found = logits(exact), logits(half)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()
    # The keys and values of a cache, and what the output layer multiplies, have 16 bits.
    with torch.inference_mode():
        output = half(input_ids=IDS, use_cache=True)
    assert output.logits.dtype == output.past_key_values.layers[0].keys.dtype == torch.float16
    assert (output.logits.float() - found).abs().max() < 0.02 * expected.abs().max()


def test_an_adapter_on_every_layer_changes_both_alike(gemma: Path) -> None:
    expected, found = (
        logits(_adapted(load_model(gemma, dtype=dtype))) for dtype in (torch.float32, torch.float16)
    )
    base = logits(load_model(gemma, dtype=torch.float32))
    assert (expected - base).abs().max() > 0.1 * base.abs().max()
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def _adapted(base: Any) -> Any:
    """The model with an adapter that changes it much, the same for each dtype."""
    model = add_lora(base, rank=4, alpha=8, dropout=0.0, targets=LLAMA_LIKE).eval()
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            deviation = 1.0 if "gate_proj" in name or "up_proj" in name else 0.1
            drawn = torch.randn(weight.shape, generator=generator) * deviation
            weight.data.copy_(drawn)
    return model.to(next(base.parameters()).dtype)
