"""A profiler trace of decoding and of training: how many kernels, and what launching them costs."""

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from gpu.device import GPU, NAME, released, synchronize
from gpu.models import shaped
from gpu.report import Report
from gpu.serving import ask, opened
from gpu.training import examples, run
from medsweep.finetune.recipe import Recipe

ACTIVITIES = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if GPU else [])]
TOKENS = 16 if GPU else 4


def decoding(report: Report) -> None:
    """Trace an answer of 16 tokens with an adapter."""
    for rows in (1, 16) if GPU else (1,):
        spec, folder = shaped("llama-3-8b")
        dtype = "bfloat16" if GPU else "float32"
        with opened("continuous", spec, folder, dtype=dtype, adapters=1) as engine:
            ask(engine, ["a0"] * rows, TOKENS)
            with profile(activities=ACTIVITIES) as trace:
                ask(engine, ["a0"] * rows, TOKENS)
                synchronize()
        report.row("trace.decoding", device=NAME, rows=rows, steps=TOKENS, **_summary(trace))


def training(report: Report) -> None:
    """Trace the third step of eight examples of 256 tokens."""
    spec, folder = shaped("llama-3-8b")
    recipe = Recipe(
        batch_size=8,
        micro_batch_size=8,
        max_seq_length=2048 if GPU else 64,
        gradient_checkpointing=False,
    )
    lessons = examples(24, length=256 if GPU else 32)
    with released():
        done = run(spec, folder, lessons, recipe, steps=3, stop_after=2)
        with profile(activities=ACTIVITIES) as trace:
            done.loop.step(done.plan[2])
            synchronize()
    report.row("trace.training", device=NAME, steps=1, **_summary(trace))


def _summary(trace: Any) -> dict[str, Any]:
    averages = trace.key_averages()
    kernels = [one for one in averages if one.device_type == torch.autograd.DeviceType.CUDA]
    launches = [one for one in averages if one.key.startswith(("cudaLaunch", "cuLaunch"))]
    waits = [one for one in averages if "Synchronize" in one.key]
    longest = sorted(kernels, key=lambda one: -one.self_device_time_total)[:12]
    return {
        "kernels": sum(one.count for one in kernels),
        "kernel_ms": sum(one.self_device_time_total for one in kernels) / 1e3,
        "launches": sum(one.count for one in launches),
        "launch_ms": sum(one.self_cpu_time_total for one in launches) / 1e3,
        "wait_ms": sum(one.self_cpu_time_total for one in waits) / 1e3,
        "longest": [
            (one.key[:80], one.count, round(one.self_device_time_total / 1e3, 2)) for one in longest
        ],
    }
