"""Who fails when the GPU's memory runs out, and whether the engine answers afterwards."""

import torch

from gpu.device import GPU
from gpu.models import shaped
from gpu.report import Report
from gpu.serving import ask, opened


def serving(report: Report) -> None:
    """Ask for more than three gigabytes of KV cache where there are three."""
    if not GPU:
        return
    spec, folder = shaped("llama-3-8b")
    with opened("continuous", spec, folder, dtype="bfloat16") as engine:
        total = torch.cuda.mem_get_info()[1]
        allowed = torch.cuda.memory_allocated() + 3 * 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
        try:
            try:
                ask(engine, [spec.name] * 16, 32, words=4800)
                report.row("memory.serving", raised=None)
            except Exception as error:  # noqa: BLE001 which error it is, is what is asked
                report.row("memory.serving", raised=f"{type(error).__name__}: {str(error)[:200]}")
            answers, _ = ask(engine, [spec.name], 8)
            report.row("memory.afterwards", ok=answers[0].tokens == 8, tokens=answers[0].tokens)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
