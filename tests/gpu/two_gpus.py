"""Replicas of an engine on two GPUs behind one endpoint."""

import torch

from gpu.device import GPU, GPUS, NAME
from gpu.models import shaped
from gpu.report import Report
from gpu.serving import ask, opened

TOKENS = 64 if GPU else 6


def replicas(report: Report) -> None:
    """Compare two replicas with one: the answers, the speed and the memory of each GPU."""
    if GPU and GPUS < 2:
        report.row("two_gpus.replicas", not_run="this machine has one GPU")
        return
    spec, folder = shaped("llama-3-8b")
    dtype = "bfloat16" if GPU else "float32"
    texts, tokens_per_s, used = [], [], []
    for count in (1, 2):
        with opened("continuous", spec, folder, dtype=dtype, adapters=1, replicas=count) as engine:
            models = [spec.name, "a0"] * 8
            ask(engine, models, TOKENS)
            answers, seconds = ask(engine, models, TOKENS)
            used.append([_used_gib(number) for number in range(GPUS)])
        texts.append([answer.text for answer in answers])
        tokens_per_s.append(round(sum(answer.tokens for answer in answers) / seconds, 1))
    same = sum(one == other for one, other in zip(*texts, strict=True))
    report.row(
        "two_gpus.replicas",
        # In 16 bits a batch of other rows may round otherwise; every replica computes.
        ok=(same == len(texts[0]) if not GPU else min(used[1][:2]) > used[0][0] / 2),
        device=NAME,
        same=same,
        of=len(texts[0]),
        tokens_per_s=tokens_per_s,
        used_gib=used,
    )


def _used_gib(number: int) -> float:
    return round(torch.cuda.memory_allocated(number) / 2**30, 2)
