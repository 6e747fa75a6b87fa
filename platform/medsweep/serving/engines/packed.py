"""Weights laid out once as oneDNN's matrix products read them fastest on a processor.

PyTorch's own product of a few rows with a weight lays the weight out anew in every step. What the
difference comes to is in docs/engines.md.
"""

from __future__ import annotations

import platform
from functools import partial
from typing import Any

SMALLEST = 2**16
"""Values that a weight must have: below, a product is over before its layout matters."""

MACHINES = ("x86_64", "AMD64")
"""Processors for which PyTorch's builds have oneDNN's float32 products."""


def pack(model: Any) -> int:
    """Lay out the float32 weights of a model's linear layers anew; it can no longer be trained.

    The layers keep no other copy of their weight, so that memory stays what it was. One that is the
    embedding's too stays there as it is.

    Args:
        model: of transformers, on the CPU, before any adapter is put on it.

    Returns:
        Number of layers that were laid out anew; 0 where PyTorch has no oneDNN.
    """
    import torch

    one_dnn: Any = torch.backends.mkldnn
    if platform.machine() not in MACHINES or not one_dnn.is_available():
        return 0
    packed = [module for module in model.modules() if _gains(module)]
    with torch.no_grad():
        for layer in packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
            layer.forward = partial(_product, weight, layer.bias)
            layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
    return len(packed)


def _gains(module: Any) -> bool:
    import torch

    if type(module) is not torch.nn.Linear:  # quantized layers are of classes of their own
        return False
    return module.weight.dtype == torch.float32 and module.weight.numel() >= SMALLEST


def _product(weight: Any, bias: Any, rows: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
