"""Two workers that share a step, on one GPU or on two, learn what one worker learns."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpu.device import GPU, GPUS
from gpu.models import small
from gpu.report import Report
from gpu.training import Run, examples, run
from medsweep.finetune.recipe import Recipe

EXAMPLES = 24
STEPS = 3

# Sums in another order, in float32, over three steps of AdamW. Workers that did not exchange their
# gradients would be some learning rates apart, each of which is up to twice this.
AGREE = 1e-4


def ddp(report: Report) -> None:
    """Train alone and in two processes; compare the weights."""
    alone = _weights(_trained())
    with tempfile.TemporaryDirectory() as scratch:
        torch.multiprocessing.start_processes(  # type: ignore[no-untyped-call]
            _worker, args=(scratch,), nprocs=2, start_method="spawn"
        )
        both = [torch.load(Path(scratch) / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    worst = max(
        float((alone[name] - worker["weights"][name]).abs().max())
        for worker in both
        for name in alone
    )
    # B begins at 0, so that its largest value is the way that weights went.
    moved = max(float(alone[name].abs().max()) for name in alone if "lora_B" in name)
    learnt = [worker["learnt"] for worker in both]
    report.row(
        "two_workers.ddp",
        ok=worst < AGREE < moved and learnt == [EXAMPLES // 2] * 2,
        worst=worst,
        moved=moved,
        examples=learnt,
        gpus=min(2, GPUS),
    )


def _worker(rank: int, scratch: str) -> None:
    from torch import distributed

    # NCCL refuses two workers on one GPU; gloo takes them.
    store = distributed.FileStore(f"{scratch}/store", 2)
    os.environ["LOCAL_RANK"] = str(rank) if GPUS > 1 else "0"
    if GPUS > 1:
        torch.cuda.set_device(rank)
    backend = "nccl" if GPUS > 1 else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=2)
    if not GPU:
        torch.set_num_threads(1)
    done = _trained()
    torch.save({"weights": _weights(done), "learnt": done.learnt}, f"{scratch}/{rank}.pt")
    distributed.destroy_process_group()


def _trained() -> Run:
    spec, folder = small("llama-3-8b")
    recipe = Recipe(
        dropout=0.0,
        batch_size=EXAMPLES // STEPS,
        micro_batch_size=4,
        max_seq_length=64,
        dtype="float32",
        gradient_checkpointing=False,
    )
    return run(spec, folder, examples(EXAMPLES, longest=48), recipe, steps=STEPS)


def _weights(done: Run) -> dict[str, Any]:
    state = done.strategy.state()
    return {name: tensor.cpu() for name, tensor in state.items() if name.startswith("weight.")}
