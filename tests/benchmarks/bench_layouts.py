"""What the layout of the batches costs in learning, and what it saves in time.

A model learns MedQuAD's answers for one epoch, with each layout in each of three orders of the
data. The reference takes one sequence at a time in random order, without padding. A stand-in learns
from many pairs; SmolLM2-135M from fewer, since a step takes seconds.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from bench_finetune import MEDQUAD, medquad

from medsweep.errors import EnvironmentFault
from medsweep.finetune.batch_order import PASS_TOKENS, Layout, Step, plan_epoch
from medsweep.finetune.data import Example, encode
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

WIDTH, BATCH = 512, 8
HELD_OUT = 100
RATES = {"standin-llama-3-8b": 1e-2, "smollm2-135m": 2e-4}
PAIRS = {"standin-llama-3-8b": 1000, "smollm2-135m": int(os.environ.get("SMOLLM2_PAIRS", "80"))}
SEEDS = (1, 2, 3)
LAYOUTS = ("one at a time", "bucketed", "packed", "sorted over the epoch")

NATS = 0.01
"""Most that a layout may differ from the random order in evaluation loss."""


@dataclass(frozen=True)
class Learnt:
    """One epoch.

    Attributes:
        nats: evaluation loss after it.
        tokens_per_s: real tokens trained on, padding not counted, per second of CPU time.
    """

    nats: float
    tokens_per_s: float


def steps_of(layout: str, train: Sequence[Example], seed: int) -> list[Step]:
    """Return the steps of one epoch in a layout."""
    if layout == "one at a time":
        return plan_epoch(train, Layout(BATCH, 1, WIDTH), seed=seed)
    if layout != "sorted over the epoch":
        packing: Any = layout
        made = Layout(BATCH, BATCH, WIDTH, packing, pass_tokens=PASS_TOKENS["cpu"])
        return plan_epoch(train, made, seed=seed)
    # As it was before: a quarter of the epoch is sorted by length and cut into steps.
    draw = random.Random(seed)
    order, groups = list(train), []
    draw.shuffle(order)
    size = BATCH * max(1, len(order) // (4 * BATCH))
    for start in range(0, len(order), size):
        part = sorted(order[start : start + size], key=lambda one: len(one.input_ids))
        groups += [part[first : first + BATCH] for first in range(0, len(part), BATCH)]
    draw.shuffle(groups)
    made = Layout(BATCH, BATCH, WIDTH, pass_tokens=PASS_TOKENS["cpu"])
    return [step for group in groups for step in plan_epoch(group, made, seed=seed)]


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", PAIRS)
def test_no_layout_learns_less_than_the_random_order(name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not MEDQUAD.is_file():
        pytest.skip(f"no MedQuAD at {MEDQUAD}; set MEDQUAD")
    spec, count = MODELS[name], PAIRS[name]
    try:
        folder = fetch_weights(identify(spec, [pair.answer for pair in medquad()]))
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    template = TEMPLATES[spec.template]
    encoded = [encode(pair, template, tokenizer, WIDTH) for pair in medquad(1)]
    drawn = random.Random(0).sample([one for one in encoded if one.answer_tokens], count + HELD_OUT)
    held_out, train = drawn[:HELD_OUT], drawn[HELD_OUT:]

    def epoch(layout: str, seed: int) -> Learnt:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        base.requires_grad_(False)
        model = add_lora(base, rank=16, alpha=16, dropout=0.0, targets=spec.lora_targets)
        steps = steps_of(layout, train, seed)
        strategy = Ddp(model, ALONE, TrainingPrecision("float32"))
        loop = Loop(strategy, Schedule(RATES[name], len(steps)), ALONE, 1, tokenizer.pad_token_id)
        began_s = time.process_time()
        stats = loop.epoch(1, steps, lambda _: None)
        spent_s = time.process_time() - began_s
        nats = answer_loss(model, held_out, tokenizer.pad_token_id)
        print(f"{layout}, seed {seed}: {nats:.4f} nats, {stats.tokens / spent_s:.0f}", flush=True)
        return Learnt(nats, stats.tokens / spent_s)

    learnt = {(layout, seed): epoch(layout, seed) for seed in SEEDS for layout in LAYOUTS}
    lengths = sorted(len(example.input_ids) for example in train)
    print(
        f"\n{name}, float32; {count} pairs of {lengths[0]} to {lengths[-1]} tokens (median "
        f"{lengths[count // 2]}), {count // BATCH} steps of {BATCH}; {HELD_OUT} held out"
    )
    print(f"{'layout':<22} evaluation loss by seed    from random order          real tokens/CPU s")
    for layout in LAYOUTS:
        own = [learnt[layout, seed] for seed in SEEDS]
        apart = [
            one.nats - learnt[LAYOUTS[0], seed].nats for one, seed in zip(own, SEEDS, strict=True)
        ]
        print(
            f"{layout:<22} {'  '.join(f'{one.nats:.4f}' for one in own)}    "
            f"{'  '.join(f'{each:+.4f}' for each in apart)}    "
            f"{statistics.median(one.tokens_per_s for one in own):.1f}"
        )
        if layout in ("bucketed", "packed"):
            assert max(map(abs, apart)) < NATS
