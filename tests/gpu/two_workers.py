"""Two workers that share a step, on one GPU or on two, learn what one worker learns."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpu.device import GPU, GPUS, peak_gib
from gpu.models import small
from gpu.packages import missing
from gpu.report import Report
from gpu.training import Run, examples, run
from medsweep.finetune.recipe import Recipe, StrategyName

EXAMPLES = 24
STEPS = 3

# Sums in another order, in float32, over three steps of AdamW. Workers that did not exchange their
# gradients would be some learning rates apart, each of which is up to twice this.
AGREE = 1e-4

# The buffer of gradients has 64 MiB; at DeepSpeed's own 5e8 values it would have 1.9 GiB.
BUFFERS_GIB = 0.5


def ddp(report: Report) -> None:
    """Train alone and in two processes; compare the weights."""
    _compare(report, "ddp")


def zero2(report: Report) -> None:
    """The same where each process keeps half of the gradients and of the optimizer's state."""
    if "zero" in (absent := missing()):
        report.row("two_workers.zero2", not_run=f"{', '.join(absent['zero'])} is not installed")
        return
    _compare(report, "zero2")


def _compare(report: Report, strategy: StrategyName) -> None:
    alone = _weights(_trained("ddp"))
    with tempfile.TemporaryDirectory() as scratch:
        torch.multiprocessing.start_processes(  # type: ignore[no-untyped-call]
            _worker, args=(strategy, scratch), nprocs=2, start_method="spawn"
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
    peaks = [worker["peak_gib"] for worker in both]
    report.row(
        f"two_workers.{strategy}",
        ok=worst < AGREE < moved
        and learnt == [EXAMPLES // 2] * 2
        and all(peak is None or peak < BUFFERS_GIB for peak in peaks),
        worst=worst,
        moved=moved,
        examples=learnt,
        peak_gib=peaks,
        gpus=min(2, GPUS),
    )


def _worker(rank: int, strategy: StrategyName, scratch: str) -> None:
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
    done = _trained(strategy)
    kept = {"weights": _weights(done), "learnt": done.learnt, "peak_gib": peak_gib()}
    torch.save(kept, f"{scratch}/{rank}.pt")
    distributed.destroy_process_group()


def _trained(strategy: StrategyName) -> Run:
    spec, folder = small("llama-3-8b")
    recipe = Recipe(
        dropout=0.0,
        batch_size=EXAMPLES // STEPS,
        micro_batch_size=4,
        max_seq_length=64,
        dtype="float32",
        gradient_checkpointing=False,
        strategy=strategy,
    )
    return run(spec, folder, examples(EXAMPLES, longest=48), recipe, steps=STEPS)


def _weights(done: Run) -> dict[str, Any]:
    state = done.strategy.state()
    return {name: tensor.cpu() for name, tensor in state.items() if name.startswith("weight.")}
