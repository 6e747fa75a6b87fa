"""The roofline's prediction beside what this machine's processor really takes, step by step.

Two architectures at their published sizes with random weights (speed does not depend on the
values), float32, with a LoRA adapter that is not merged, as it is served and trained.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from medsweep.finetune.lora import add_lora
from medsweep.models.catalog import MODELS
from medsweep.prediction.roofline import StepTime, decode_step, lora_step, measured_machine, prefill

PROMPT, CONTEXT, TRAINED = 128, 160, 128
BATCHES = (1, 8)
TRIES = 7
HOW: dict[str, Any] = {"dtype": "float32", "quantization": "none"}


def build(name: str) -> Any:
    """The model at its published size, with LoRA as the paper's recipe puts it on."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    configs = {
        "smollm2-135m": LlamaConfig(
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            vocab_size=49152,
            tie_word_embeddings=True,
        ),
        "distilgpt2": GPT2Config(n_layer=6),
    }
    base = AutoModelForCausalLM.from_config(configs[name], attn_implementation="sdpa")
    spec = MODELS[name]
    assert sum(each.numel() for each in base.parameters()) == pytest.approx(
        spec.parameters, rel=0.02
    )
    return add_lora(base, rank=16, alpha=16, dropout=0.25, targets=spec.lora_targets)


def median_s(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(TRIES):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def observed_s(model: Any, batch: int) -> dict[str, float]:
    """Seconds of a prompt, of a decoding step and of a training step, for a batch."""
    import torch
    from transformers import DynamicCache

    model.eval()
    found = {}
    with torch.inference_mode():
        prompt = torch.randint(100, 4000, (batch, PROMPT))
        found["prompt"] = median_s(lambda: model(prompt, use_cache=True, logits_to_keep=1))
        cache = DynamicCache()
        model(torch.randint(100, 4000, (batch, CONTEXT)), past_key_values=cache, use_cache=True)
        token = torch.randint(100, 4000, (batch, 1))
        # Each step makes the context one token longer, as in an answer.
        found["decoding step"] = median_s(
            lambda: model(token, past_key_values=cache, use_cache=True)
        )
    model.train()
    rows = torch.randint(100, 4000, (batch, TRAINED))
    found["LoRA step"] = median_s(lambda: model(rows, labels=rows).loss.backward())
    return found


def predicted(name: str, batch: int) -> dict[str, StepTime]:
    spec, machine = MODELS[name], measured_machine()
    return {
        "prompt": prefill(spec, machine, tokens=batch * PROMPT, **HOW),
        "decoding step": decode_step(spec, machine, batch=batch, context=CONTEXT, **HOW),
        "LoRA step": lora_step(spec, machine, tokens=batch * TRAINED, **HOW),
    }


@pytest.mark.timeout(900)
def test_prediction_beside_observation() -> None:
    machine = measured_machine()
    print(
        f"\nmeasured: {machine.bytes_per_s / 1e9:.1f} GB/s, {machine.flops / 1e9:.0f} GFLOP/s, "
        f"{len(os.sched_getaffinity(0))} cores"
    )
    print(
        "| model | batch | step | observed (ms) | predicted (ms) | observed / predicted | bound |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("distilgpt2", "smollm2-135m"):
        model = build(name)
        for batch in BATCHES:
            said = predicted(name, batch)
            for step, took_s in observed_s(model, batch).items():
                print(
                    f"| {name} | {batch} | {step} | {1000 * took_s:.1f} | "
                    f"{1000 * said[step].seconds:.1f} | {took_s / said[step].seconds:.2f} | "
                    f"{said[step].bound} |"
                )
