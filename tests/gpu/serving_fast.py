"""How fast the engines are, against the roofline and by the machine's own sensors."""

import os
import time
from collections.abc import Sequence
from typing import Any

import torch

from gpu.device import GPU, NAME
from gpu.models import shaped
from gpu.report import Report
from gpu.serving import Answered, ask, opened
from medsweep.hardware.observe import host_profile
from medsweep.prediction.roofline import datasheet_machine, decode_step, served_by
from medsweep.telemetry.sampler import Sampler
from medsweep.telemetry.window import window_columns

TOKENS = 128 if GPU else 8
LLAMA = ("llama-3-8b", "continuous", "none")
PLANS: tuple[tuple[str, str, str], ...] = (
    LLAMA,
    ("distilgpt2", "continuous", "none"),
    ("llama-3-8b", "continuous", "nf4"),
)
GENERATE = ("llama-3-8b", "generate", "none")
COLUMNS = (
    "gpu_utilisation",
    "gpu_power_w",
    "gpu_energy_j",
    "gpu_memory_used_bytes",
    "engine_thread_busy",
    "engine_cpu_cores",
    "gpu_throttle_reasons",
)


def speed(report: Report) -> None:
    """Decode with 1 and 16 rows, without an adapter and with one."""
    for plan in PLANS if GPU else PLANS[:2]:
        _speed(report, *plan)


def without_graphs(report: Report) -> None:
    """The same steps launched kernel by kernel, to know what CUDA graphs are worth."""
    _speed(report, *LLAMA, graphs=False)


def _speed(report: Report, name: str, kind: str, quantization: str, *, graphs: bool = True) -> None:
    spec, folder = shaped(name)
    dtype = "bfloat16" if GPU else "float32"
    started = time.perf_counter()
    with opened(kind, spec, folder, dtype=dtype, quantization=quantization, adapters=1) as engine:
        ask(engine, ["a0"] * 4, 8)
        ready_s = time.perf_counter() - started
        ask(engine, [spec.name] * 16, 8)
        decoder: Any = getattr(engine, "_decoder", None)
        if not graphs:
            decoder.refused = "for comparison"
        like = kind if graphs else "generate"  # whose steps are launched kernel by kernel
        for rows, model in ((1, spec.name), (1, "a0"), (16, spec.name), (16, "a0")):
            report.row(
                "serving.speed",
                device=NAME,
                cores=len(os.sched_getaffinity(0)),
                model=name,
                engine=kind,
                quantization=quantization,
                adapter=model == "a0",
                rows=rows,
                ready_s=round(ready_s, 1),
                predicted_ms=_predicted_ms(spec, dtype, quantization, rows, like),
                **measured(engine, [model] * rows),
                graphs=len(getattr(decoder, "_captured", ())),
                no_graphs=getattr(decoder, "refused", "not this engine"),
            )


def measured(engine: Any, models: list[str]) -> dict[str, Any]:
    """Return the figures of answering a question of each model at once, after a first time."""
    first = _step_ms(ask(engine, models, TOKENS)[0])
    sampler = Sampler({"engine": os.getpid()})
    sampler.start()
    started = time.time()
    answers, seconds = ask(engine, models, TOKENS)
    columns = window_columns(sampler.stop().samples, started, started + seconds)
    tokens = sum(answer.tokens for answer in answers)
    joules = columns.get("gpu_energy_j")
    return {
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 1),
        "step_ms": _step_ms(answers),
        "first_step_ms": first,  # when kernels for each length may still be chosen
        "first_token_ms": 1e3 * max(answer.first_s for answer in answers),
        "joules_per_token": None if joules is None else joules / tokens,
        **{name: columns.get(name) for name in COLUMNS},
    }


def _step_ms(answers: Sequence[Answered]) -> float:
    decoding_s = max(answer.whole_s - answer.first_s for answer in answers)
    return 1e3 * decoding_s / max(1, max(answer.tokens for answer in answers) - 1)


def _predicted_ms(spec: Any, dtype: str, quantization: str, rows: int, engine: str) -> float | None:
    machine = datasheet_machine(host_profile(), dtype)
    if machine is None:
        return None
    step = decode_step(
        spec,
        machine,
        dtype=dtype,
        quantization=quantization,
        batch=rows,
        context=200,
        execution=served_by(engine, gpu=True),
    )
    return 1e3 * step.seconds


def generate(report: Report) -> None:
    """The engine without a batch that requests join and leave."""
    _speed(report, *GENERATE)


def one_core(report: Report) -> None:
    """Repeat it on one core, as the profiles with one CPU have it."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    try:
        _speed(report, *LLAMA)
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
