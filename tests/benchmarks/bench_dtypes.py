"""Training in float32 and in bfloat16 on this machine's CPUs: time, and what is learnt.

SmolLM2-135M learns MedQuAD's answers; the two models make the same steps in turn.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from typing import Any

import pytest
from bench_finetune import MEDQUAD, medquad

from medsweep.errors import EnvironmentFault
from medsweep.finetune.batch_order import PASS_TOKENS, Layout, plan_epoch
from medsweep.finetune.data import encode
from medsweep.finetune.ddp import Ddp
from medsweep.finetune.evaluate import answer_loss
from medsweep.finetune.loop import Loop
from medsweep.finetune.lora import add_lora
from medsweep.finetune.schedule import Schedule
from medsweep.finetune.team import ALONE
from medsweep.models.catalog import MODELS
from medsweep.models.precision import TrainingPrecision
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import fetch_weights, identify

SPEC = MODELS["smollm2-135m"]
STEPS = int(os.environ.get("DTYPE_STEPS", "12"))
BATCH, WIDTH, HELD_OUT = 4, 256, 12
DTYPES = ("float32", "bfloat16")


@pytest.mark.timeout(3600)
def test_training_in_bfloat16_beside_float32() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not MEDQUAD.is_file():
        pytest.skip(f"no MedQuAD at {MEDQUAD}; set MEDQUAD")
    try:
        folder = fetch_weights(identify(SPEC, []))
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = [encode(pair, TEMPLATES[SPEC.template], tokenizer, WIDTH) for pair in medquad()]
    drawn = random.Random(0).sample(encoded, STEPS * BATCH + HELD_OUT)
    held_out, train = drawn[:HELD_OUT], drawn[HELD_OUT:]
    layout = Layout(BATCH, BATCH, WIDTH, pass_tokens=PASS_TOKENS["cpu"])
    steps = plan_epoch(train, layout, seed=1)

    def prepared(dtype: str) -> tuple[Loop, Any]:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        base.requires_grad_(False)
        model = add_lora(base, rank=16, alpha=16, dropout=0.0, targets=SPEC.lora_targets)
        strategy = Ddp(model, ALONE, TrainingPrecision(dtype))
        schedule = Schedule(2e-4, len(steps))
        return Loop(strategy, schedule, ALONE, 1, tokenizer.pad_token_id), model

    runs = {dtype: prepared(dtype) for dtype in DTYPES}
    rates: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for step in steps:
        for dtype, (loop, model) in runs.items():
            model.train()
            began_s = time.process_time()
            loop.step(step)
            rates[dtype].append(step.tokens / (time.process_time() - began_s))
    print(f"\n{STEPS} steps of {BATCH}, {torch.get_num_threads()} threads, in turn")
    for dtype, (_, model) in runs.items():
        nats = answer_loss(model.eval(), held_out, tokenizer.pad_token_id)
        print(f"{dtype:<9} {statistics.median(rates[dtype]):6.1f} tokens/CPU s   {nats:.4f} nats")
    ratios = [b / a for a, b in zip(rates["float32"], rates["bfloat16"], strict=True)]
    print(f"bfloat16 over float32, by step: median {statistics.median(ratios):.2f}")
