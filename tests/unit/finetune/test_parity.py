"""Beside a plain loop with PEFT, which shares no code with ours but the order of the examples."""

from typing import Any

import pytest
import torch

from medsweep.finetune.batch_order import Layout, plan_epoch
from medsweep.finetune.data import Example
from medsweep.finetune.ddp import Ddp
from medsweep.finetune.loop import Loop
from medsweep.finetune.lora import add_lora
from medsweep.finetune.recipe import Packing
from medsweep.finetune.schedule import Schedule
from medsweep.finetune.team import ALONE
from medsweep.models.precision import TrainingPrecision

STEPS, BATCH, WIDTH, PEAK = 10, 8, 96, 2e-4
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

pytestmark = pytest.mark.slow


def base() -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=200,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    return transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False)


def examples() -> list[Example]:
    draw = torch.Generator().manual_seed(1)
    lengths = torch.randint(6, WIDTH, (STEPS * BATCH,), generator=draw).tolist()
    return [
        Example(tuple(torch.randint(200, (length,), generator=draw).tolist()), 2 + length // 4)
        for length in lengths
    ]


def plain(groups: list[list[Example]]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train as the documentation of PEFT and PyTorch shows; return losses and weights."""
    from peft import LoraConfig, get_peft_model

    model = base()
    torch.manual_seed(5)
    config = LoraConfig(
        r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM"
    )
    model = get_peft_model(model, config).train()
    weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=PEAK, weight_decay=0.0)
    losses = []
    for number, group in enumerate(groups):
        # Linear decay to zero after one step of warm-up, as `Schedule` says of 10 steps.
        for parameters in optimizer.param_groups:
            parameters["lr"] = PEAK if number == 0 else PEAK * (STEPS - number) / (STEPS - 1)
        longest = max(len(one.input_ids) for one in group)
        ids, mask, labels = (torch.zeros(len(group), longest).long() for _ in range(3))
        labels -= 100
        for row, one in enumerate(group):
            size = len(one.input_ids)
            ids[row, :size] = torch.tensor(one.input_ids)
            mask[row, :size] = 1
            labels[row, one.prompt_tokens : size] = ids[row, one.prompt_tokens : size]
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, weights


@pytest.mark.parametrize(
    ("packing", "rows", "pass_tokens"), [("bucketed", 8, 16), ("packed", 2, 512), ("padded", 1, 0)]
)
def test_ten_steps_are_those_of_a_plain_loop(packing: Packing, rows: int, pass_tokens: int) -> None:
    layout = Layout(BATCH, rows, WIDTH, packing, pass_tokens=pass_tokens)
    steps = plan_epoch(examples(), layout, seed=3)
    assert len(steps) == STEPS
    groups = [
        [one for micro in s.micro_batches for row in micro.rows for one in row] for s in steps
    ]
    expected, theirs = plain(groups)
    model = base()
    torch.manual_seed(5)
    model = add_lora(model, rank=8, alpha=16, dropout=0.0, targets=TARGETS)
    strategy = Ddp(model, ALONE, TrainingPrecision("float32"))
    width = WIDTH if packing == "padded" else None
    loop = Loop(strategy, Schedule(PEAK, STEPS), ALONE, seed=1, pad_id=0, width=width)
    model.train()
    losses = []
    for step in steps:
        before = loop.position.nats
        loop.step(step)
        losses.append((loop.position.nats - before) / step.answer_tokens)
    assert losses == pytest.approx(expected, rel=1e-5)
    ours = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert ours.keys() == theirs.keys()
    worst = max(float((one - theirs[name]).detach().abs().max()) for name, one in ours.items())
    assert worst < 1e-6
    # They did move: each step changes a weight by about its learning rate.
    assert max(float(one.detach().abs().max()) for name, one in ours.items() if "_B" in name) > PEAK
