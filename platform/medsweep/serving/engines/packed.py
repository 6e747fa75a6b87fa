"""Weights of a model on a CPU in oneDNN's fastest layout.

PyTorch's own product of a few rows with a weight reads it in the layout of the file, and on some
processors by a slower library. docs/results/benchmarks.md compares the two.
"""

from __future__ import annotations

import platform
from functools import partial
from typing import Any

SMALLEST = 2**16
"""Values that a weight must have: below, its layout makes no difference."""

MACHINES = ("x86_64", "AMD64")
"""Processors for which PyTorch's builds have oneDNN's products."""


def pack_weights(model: Any) -> int:
    """Pack the weights of a model's large linear layers; it can no longer be trained.

    A packed layer keeps no other copy of its weight, so a model takes no more memory. Only an
    output layer that shares its weight with the embedding gets a copy of its own, because the
    embedding reads single rows.

    Args:
        model: of transformers, on the CPU, not quantized, before adapters are added.

    Returns:
        Number of layers that were packed; 0 where PyTorch has no fast product for the dtype.
    """
    import torch

    if platform.machine() not in MACHINES or not _multiplies(model.dtype):
        return 0
    embedding = model.get_input_embeddings().weight
    count = 0
    with torch.no_grad():
        for layer in model.modules():
            # One after the other, so that one weight at most is in memory twice.
            if (matrix := _matrix(layer)) is None:
                continue
            packed = torch.ops.mkldnn._reorder_linear_weight(matrix)
            layer.forward = partial(_product, packed, layer.bias)
            if layer.weight is not embedding:
                layer.weight = torch.nn.Parameter(matrix.new_empty(0), requires_grad=False)
            count += 1
    return count


def _multiplies(dtype: Any) -> bool:
    import torch

    one_dnn: Any = torch.backends.mkldnn
    if not one_dnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(dtype == torch.float32)


def _matrix(layer: Any) -> Any:
    """Return a layer's weight as [outputs, inputs] if it is worth packing, else None."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if type(layer) is torch.nn.Linear:
        matrix = layer.weight.detach()
    elif type(layer) is Conv1D:  # GPT-2's
        matrix = layer.weight.detach().T.contiguous()
    else:
        return None
    return matrix if matrix.numel() >= SMALLEST else None


def _product(weight: Any, bias: Any, rows: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
