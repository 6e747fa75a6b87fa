"""vLLM in its own environment, where that is installed: its answers and its speed."""

from typing import Any

from gpu.device import GPU, GPUS, NAME
from gpu.models import shaped, small
from gpu.report import Report
from gpu.serving import ask, opened
from gpu.serving_fast import measured
from medsweep.hardware.observe import host_profile
from medsweep.serving.engines.compatibility import missing_here

TOKENS = 24 if GPU else 6
SHORT = {"max_model_len": 1024 if GPU else 256, "gpus": min(1, GPUS)}


def parity(report: Report) -> None:
    """Compare greedy answers of mixed adapters with those of `generate`."""
    if _is_missing(report, "vllm.parity"):
        return
    spec, folder = small("llama-3-8b", wide=True)
    models = [spec.name, "a0", "a1", spec.name, "a0"]
    # On a GPU vLLM's attention has 16-bit kernels only.
    dtype = "bfloat16" if GPU else "float32"
    texts: dict[str, list[str]] = {}
    for kind in ("generate", "vllm"):
        with opened(
            kind, spec, folder, dtype=dtype, adapters=2, max_batch_size=8, **SHORT
        ) as engine:
            answers, _ = ask(engine, models, TOKENS, words=24)
            texts[kind] = [answer.text for answer in answers]
            details = engine.details()
    same = sum(one == other for one, other in zip(*texts.values(), strict=True))
    report.row(
        "vllm.parity",
        ok=same == len(models) if not GPU else all(answer.tokens for answer in answers),
        device=NAME,
        dtype=dtype,
        same=same,
        of=len(models),
        distinct=len(set(texts["vllm"])),
        settings=details,
    )


def speed(report: Report) -> None:
    """Decode with 1 and 16 rows, without an adapter and with one, as `serving_fast` does."""
    if _is_missing(report, "vllm.speed"):
        return
    spec, folder = shaped("llama-3-8b") if GPU else small("llama-3-8b", wide=True)
    dtype = "bfloat16" if GPU else "float32"
    for adapters in (0, 1) if GPU else (1,):
        with opened("vllm", spec, folder, dtype=dtype, adapters=adapters, **SHORT) as engine:
            names = [spec.name, "a0"][: adapters + 1]
            for rows, model in ((rows, model) for rows in (1, 16) for model in names):
                report.row(
                    "vllm.speed",
                    device=NAME,
                    model=spec.name,
                    lora=adapters > 0,
                    adapter=model == "a0",
                    rows=rows,
                    **measured(engine, [model] * rows),
                )


def _is_missing(report: Report, stage: str) -> bool:
    reason: Any = missing_here("vllm", host_profile())
    if reason is not None:
        report.row(stage, not_run=reason)
    return reason is not None
