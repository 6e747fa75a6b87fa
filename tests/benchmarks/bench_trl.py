"""The same steps in TRL: losses of four blocks of SmolLM2-135M, 8 x 1 and 2 x 4 sequences a step.

TRL is not among the project's dependencies. Install it beside them in an environment of its own and
give its Python: TRL_PYTHON=/path/to/python (1.16 was run).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import EnvironmentFault
from medsweep.finetune.batch_order import Layout, plan_epoch
from medsweep.finetune.data import Example
from medsweep.finetune.ddp import Ddp
from medsweep.finetune.loop import Loop
from medsweep.finetune.lora import add_lora
from medsweep.finetune.schedule import Schedule
from medsweep.finetune.team import ALONE
from medsweep.models.catalog import MODELS
from medsweep.models.precision import TrainingPrecision
from medsweep.models.weights import fetch_weights, identify

SPEC = MODELS["smollm2-135m"]
BLOCKS, STEPS, BATCH, WIDTH, RATE = 4, 4, 8, 48, 2e-4

TRL = """
import json, sys
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

given = json.loads(sys.stdin.read())

class InOrder(SFTTrainer):
    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(self.train_dataset)

torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(
    given["folder"], dtype=torch.float32, num_hidden_layers=given["blocks"]
)
torch.manual_seed(5)
lora = LoraConfig(
    r=16, lora_alpha=16, lora_dropout=0.0, target_modules=given["targets"], task_type="CAUSAL_LM"
)
model = get_peft_model(model, lora)  # here, because the trainer seeds anew
trainer = InOrder(
    model=model,
    processing_class=AutoTokenizer.from_pretrained(given["folder"]),
    train_dataset=Dataset.from_list(given["rows"]),
    args=SFTConfig(
        output_dir=given["out"], max_steps=given["steps"], learning_rate=given["rate"],
        per_device_train_batch_size=given["rows_per_pass"],
        gradient_accumulation_steps=8 // given["rows_per_pass"],
        lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0,
        packing=False, max_length=None, bf16=False, fp16=False,
        gradient_checkpointing=False, use_cpu=True, report_to=[], logging_steps=1,
        save_strategy="no", disable_tqdm=True, logging_nan_inf_filter=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    ),
)
trainer.train()
print(json.dumps([row["loss"] for row in trainer.state.log_history if "loss" in row]))
"""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rows", [8, 2])
def test_losses_are_those_of_trl(rows: int, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    python = os.environ.get("TRL_PYTHON")
    if python is None:
        pytest.skip("set TRL_PYTHON to the Python of an environment with TRL")
    try:
        folder = fetch_weights(identify(SPEC, []))
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    draw = torch.Generator().manual_seed(1)
    lengths = torch.randint(12, WIDTH, (STEPS * BATCH,), generator=draw).tolist()
    examples = [
        Example(tuple(torch.randint(100, 49_000, (length,), generator=draw).tolist()), length // 3)
        for length in lengths
    ]
    steps = plan_epoch(examples, Layout(BATCH, rows, WIDTH), seed=3)
    groups = [[one for m in step.micro_batches for row in m.rows for one in row] for step in steps]
    given: dict[str, Any] = {
        "folder": str(folder),
        "out": str(tmp_path),
        "blocks": BLOCKS,
        "steps": STEPS,
        "rate": RATE,
        "rows_per_pass": rows,
        "targets": list(SPEC.lora_targets),
        "rows": [
            {
                "input_ids": list(one.input_ids),
                "labels": [-100] * one.prompt_tokens + list(one.input_ids[one.prompt_tokens :]),
            }
            for group in groups
            for one in group
        ],
    }
    done = subprocess.run(
        [python, "-c", TRL], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, num_hidden_layers=BLOCKS
    ).requires_grad_(False)
    torch.manual_seed(5)
    model = add_lora(base, rank=16, alpha=16, dropout=0.0, targets=SPEC.lora_targets)
    loop = Loop(
        Ddp(model, ALONE, TrainingPrecision("float32")),
        Schedule(RATE, STEPS, "constant", 0.0),
        ALONE,
        seed=1,
        pad_id=0,
    )
    model.train()
    ours = []
    for step in steps:
        before = loop.position.nats
        loop.step(step)
        ours.append((loop.position.nats - before) / step.answer_tokens)
    worst = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    print(f"\n{rows} x {BATCH // rows}: ours {ours}, TRL {theirs}; worst {worst:.1e} relative")
    assert worst < 1e-5
