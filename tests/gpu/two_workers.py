"""Two workers that share a step, on one GPU or on two, learn what one worker learns."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpu.device import GPU, GPUS
from gpu.models import small
from gpu.report import Report
from gpu.training import examples, run
from medsweep.finetune.recipe import Recipe

# Sums in another order, in float32, over three steps of AdamW.
AGREE = 1e-4


def ddp(report: Report) -> None:
    """Train alone and in two processes; compare the weights."""
    spec, folder = small("llama-3-8b")
    with tempfile.TemporaryDirectory() as scratch:
        alone = _weights(spec, folder)
        torch.multiprocessing.start_processes(  # type: ignore[no-untyped-call]
            _worker, args=(scratch,), nprocs=2, start_method="spawn"
        )
        shared = torch.load(Path(scratch) / "weights.pt", weights_only=True)
    worst = max(float((alone[name] - shared[name]).abs().max()) for name in alone)
    report.row("two_workers.ddp", ok=worst < AGREE, worst=worst, gpus=min(2, GPUS))


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
    spec, folder = small("llama-3-8b")
    weights = _weights(spec, folder)
    if rank == 0:
        torch.save(weights, f"{scratch}/weights.pt")
    distributed.destroy_process_group()


def _weights(spec: Any, folder: Path) -> dict[str, torch.Tensor]:
    recipe = Recipe(
        dropout=0.0,
        batch_size=8,
        micro_batch_size=4,
        max_seq_length=64,
        dtype="float32",
        gradient_checkpointing=False,
    )
    state = run(spec, folder, examples(24, longest=48), recipe, steps=3).strategy.state()
    return {name: tensor.cpu() for name, tensor in state.items() if name.startswith("weight.")}
