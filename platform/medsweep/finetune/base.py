"""Load the base model for a fine-tune, quantized or not, on this worker's device."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from medsweep.errors import StageError
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.team import Team
from medsweep.finetune.varlen import adopt
from medsweep.finetune.zero import shard_while_loading
from medsweep.hardware.observe import host_profile
from medsweep.models.loading import bitsandbytes_config, load_model
from medsweep.models.precision import TrainingPrecision, training_precision
from medsweep.models.spec import ModelSpec

log = logging.getLogger(__name__)


def precision_here(spec: ModelSpec, device: str, recipe: Recipe) -> TrainingPrecision:
    """Return the dtypes that a fine-tune computes in on a device of this machine.

    Raises:
        StageError: the device does not support it.
    """
    import torch

    capability = None if device == "cpu" else torch.cuda.get_device_capability(device)
    precision = training_precision(spec, capability, recipe.quantization, recipe.dtype)
    if precision.refused:
        raise StageError(f"fine-tuning {spec.name}: {precision.refused}")
    return precision


def memory_here(team: Team) -> int:
    """Return a worker's memory, in bytes: what is free on its GPU, or its share of the host's."""
    import torch

    if team.device_type == "cuda":
        return int(torch.cuda.mem_get_info(team.device)[0])
    return host_profile().host_memory_bytes // team.size


def grow_segments(device: str) -> bool:
    """Let PyTorch's allocator grow its segments, and return whether this GPU's driver can.

    Batches differ in length, and segments of fixed size are left in pieces that fit no other batch.
    What the user sets in PYTORCH_ALLOC_CONF stays.

    Args:
        device: of this worker.
    """
    import torch

    given = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys()
    if not device.startswith("cuda") or given:
        return False
    try:
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")
        torch.ones(2**21, device=device).sum().item()  # larger than what the allocator has at hand
    except (RuntimeError, ValueError, AttributeError) as error:
        log.info("GPU memory stays in segments of fixed size: %s", error)
        with contextlib.suppress(RuntimeError, ValueError, AttributeError):
            torch._C._accelerator_setAllocatorSettings("expandable_segments:False")
        return False
    return True


def load_base(
    folder: Path,
    precision: TrainingPrecision,
    *,
    quantization: str,
    team: Team,
    sharded: bool,
    gradient_checkpointing: bool,
) -> Any:
    """Load a causal language model with frozen weights.

    Weights that are not quantized have the compute dtype. Nothing is cast to float32, as
    `peft.prepare_model_for_kbit_training` does, which doubles the embeddings of a 16-bit model.

    Args:
        folder: of the weights.
        precision: dtypes of the computation.
        quantization: `none`, `int8` or `nf4` (with double quantization).
        team: the workers; each loads onto its own device.
        sharded: whether each of several workers keeps only its shard of the weights (ZeRO-3).
        gradient_checkpointing: whether activations are recomputed instead of kept.

    Raises:
        EnvironmentFault: bitsandbytes or DeepSpeed is not installed.
    """
    import torch

    grow_segments(team.device)
    compute = getattr(torch, precision.compute)
    options: dict[str, Any] = {"dtype": compute, "attn_implementation": precision.attention}
    if quantization != "none":
        options["quantization_config"] = bitsandbytes_config(quantization, compute, storage=compute)
    sharded = sharded and team.size > 1
    if sharded:
        sharding = shard_while_loading(team, precision)
    elif quantization != "none" or team.device_type == "cuda":
        options["device_map"] = {"": team.device}
    model = load_model(folder, **options)
    if sharded:
        model.sharding = sharding  # in force while it is referenced
    model.requires_grad_(False)
    for module in model.modules():
        # On a CPU with AVX-512 bfloat16, bitsandbytes rewrites 4-bit weights in the first
        # evaluation for a kernel that has no backward pass, and later gradients are silently wrong.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    if not sharded:
        adopt(model, team.device, compute)
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model
