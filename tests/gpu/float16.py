"""A Gemma whose activations leave the range of float16, in float16."""

from typing import Any

import torch

from gpu.device import DEVICE, NAME
from gpu.models import ROOM, make_overflowing_gemma
from gpu.report import Report
from medsweep.models.loading import load_model

IDS = torch.arange(24).reshape(2, 12)


def gemma(report: Report) -> None:
    """Compare its logits in float16 with float32's, and with those without the float32 residual."""
    from transformers import AutoModelForCausalLM

    folder = ROOM / "gemma-overflowing"
    if not folder.is_dir():
        make_overflowing_gemma(folder)
    placement = {"device_map": {"": DEVICE}}
    exact = _logits(load_model(folder, dtype=torch.float32, **placement))
    half = _logits(load_model(folder, dtype=torch.float16, **placement))
    plain = _logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16, **placement))
    deviation = float((half - exact).abs().max() / exact.abs().max())
    report.row(
        "float16.gemma",
        ok=deviation < 0.02 and not bool(plain.isfinite().all()),
        device=NAME,
        deviation=deviation,
        without_the_residual_in_float32="finite" if bool(plain.isfinite().all()) else "not finite",
    )


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=IDS.to(DEVICE), use_cache=False).logits.float()
    return logits.cpu()
