"""Dropout whose random numbers cost little beside the matrix products of a processor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LANES = 4
"""Numbers of 16 bits in one of the generator's 64 bits."""

LEVELS = 2**16
"""So finely the share is kept."""


def cheapen_dropout(model: Any) -> None:
    """Have a model's dropout layers take four decisions from one random number on a CPU.

    PyTorch draws a number for each element there, one after another; beside a small model that is
    a fifth of a step on two cores (docs/finetuning.md). On a GPU the layers stay what they are.
    """
    from torch.nn import Dropout

    dropping: list[Any] = [each for each in model.modules() if type(each) is Dropout and each.p]
    for layer in dropping:
        layer.forward = partial(drop, layer)


def drop(layer: torch.nn.Dropout, given: torch.Tensor) -> torch.Tensor:
    """Return the input with a share `layer.p` of its elements dropped and the others scaled up."""
    import torch

    if not layer.training or given.device.type != "cpu":
        return torch.nn.functional.dropout(given, layer.p, layer.training)
    count = given.numel()
    drawn = torch.empty(-(-count // LANES), dtype=torch.int64).random_(-(2**63), None)
    numbers = drawn.view(torch.int16)[:count].view(given.shape)
    kept = numbers >= round(layer.p * LEVELS) - LEVELS // 2
    return given * kept.to(given.dtype).div_(1 - layer.p)
