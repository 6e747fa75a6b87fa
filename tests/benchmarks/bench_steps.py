"""One step of a small model: with adapters beside PEFT, with dropout beside PyTorch.

SmolLM2-135M in float32 on this machine's CPUs, adapters of rank 16 on every layer, in turn.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsweep.cluster.cpu_pinning import wait_asleep
from medsweep.finetune import lora
from medsweep.finetune.loss import answer_nats
from medsweep.models.catalog import MODELS
from medsweep.models.weights import fetch_weights, identify
from medsweep.serving.engines.lora import LoraModel
from medsweep.serving.engines.low_rank import read_pairs

wait_asleep()  # as a server does

SPEC = MODELS["smollm2-135m"]
CPUS = len(os.sched_getaffinity(0))
ROWS, PROMPT, ROUNDS = 8, 64, 9
LEARNT, LENGTH = 8, 100


@pytest.fixture(scope="module")
def base() -> Path:
    import torch

    torch.set_num_threads(CPUS)
    return fetch_weights(identify(SPEC, []))


def tuned(base: Path, dropout: float) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return lora.add_lora(model, rank=16, alpha=16, dropout=dropout, targets=SPEC.lora_targets)


def in_turn(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, do in ways.items():
            began_s = time.perf_counter()
            do()
            if turn:  # the first one warms up
                times[name].append((time.perf_counter() - began_s) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


@pytest.mark.timeout(600)
def test_a_step_with_adapters_beside_peft(base: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, DynamicCache

    tuned(base, 0.0).save_pretrained(tmp_path)
    ours = LoraModel(base, dtype="float32", quantization="none", flash=False)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    theirs = PeftModel.from_pretrained(plain, tmp_path, adapter_name="a")
    theirs.load_adapter(tmp_path, "b")
    for name in ("a", "b"):
        ours.add(name, read_pairs(tmp_path))
    prompts = torch.randint(0, 49_000, (ROWS, PROMPT))

    def step(logits: Callable[..., Any]) -> Callable[[], object]:
        cache = DynamicCache()
        with torch.inference_mode():
            logits(input_ids=prompts, past_key_values=cache)

        def do() -> object:
            with torch.inference_mode():
                cache.crop(PROMPT - cache.get_seq_length())
                return logits(input_ids=prompts[:, :1], past_key_values=cache)

        return do

    both = ["a", "b"] * (ROWS // 2)
    mixed = {"adapter_names": both}
    found = in_turn(
        {
            "no adapter": step(lambda **given: ours.logits([None] * ROWS, **given)),
            "one": step(lambda **given: ours.logits(["a"] * ROWS, **given)),
            "one, PEFT": step(lambda **given: theirs(**given, logits_to_keep=1)),
            "two": step(lambda **given: ours.logits(both, **given)),
            "two, PEFT": step(lambda **given: theirs(**given, **mixed, logits_to_keep=1)),
        }
    )
    print(f"\na step of {ROWS} rows, {CPUS} CPUs; ms, medians of {ROUNDS}")
    for name, each in found.items():
        print(f"  {name + ':':<12} {each:6.1f}   over no adapter {each - found['no adapter']:6.1f}")


@pytest.mark.timeout(600)
def test_learning_with_dropout_beside_pytorch_s(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    ids = torch.randint(0, 49_000, (LEARNT, LENGTH))
    labels = torch.where(torch.arange(LENGTH) < LENGTH // 2, -100, ids)
    batch = {"input_ids": ids, "labels": labels}

    def learning(model: Any) -> Callable[[], object]:
        model.train()
        return lambda: answer_nats(model, batch).backward()

    ours = learning(tuned(base, 0.25))
    without = learning(tuned(base, 0.0))
    monkeypatch.setattr(lora, "cheapen_dropout", lambda _: None)
    found = in_turn({"ours": ours, "PyTorch": learning(tuned(base, 0.25)), "none": without})
    print(f"\nlearning from {LEARNT} sequences of {LENGTH} tokens, dropout 0.25, {CPUS} CPUs")
    for name, each in found.items():
        print(f"  {name + ':':<10} {LEARNT * LENGTH / each * 1e3:6.1f} tokens/s")
    print(f"  ours over PyTorch's: {found['PyTorch'] / found['ours']:.2f}x")
