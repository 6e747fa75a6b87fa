"""Which dtype a model computes in on an accelerator, and which cells cannot run at all.

Sources: compute capabilities from NVIDIA's whitepapers; the lowest capability of bitsandbytes'
LLM.int8 (7.5) and of current vLLM (7.5) from their documentation.
"""

from __future__ import annotations

from collections.abc import Mapping

from medsweep.errors import UnknownName
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile
from medsweep.models.spec import ModelSpec

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one value, by compute dtype."""

# 4 bits and their block constants (bitsandbytes: an 8-bit one per 64 weights with double
# quantisation, a 32-bit one without) come to 0.52 to 0.56 bytes per weight.
QUANTIZED_BYTES: Mapping[str, float | None] = {"none": None, "int8": 1.0, "nf4": 0.55}
"""Bytes of one weight, by quantization; None: the compute dtype's."""

SEQUENCE_TOKENS = 2048
"""Length of the one sequence that must fit: the paper's `max_seq_length`."""

# Activations, CUDA context and fragmentation: a round allowance, not a measurement.
_OVERHEAD = 1.10

_FIRST_INT8 = (7, 5)
_FIRST_VLLM = (7, 5)


def choose_dtype(model: ModelSpec, accelerator: Accelerator | None) -> str:
    """Return the compute dtype: the fastest one that is native and does not overflow.

    Args:
        model: a model whose activations overflow float16 (Gemma) computes in float32 instead.
        accelerator: None without a GPU.
    """
    if accelerator is None:
        return "float32"
    if accelerator.native_bf16:
        return "bfloat16"
    return "float32" if model.float16_overflows else "float16"


def unsupported_reason(
    model: ModelSpec, profile: HardwareProfile, *, dtype: str, quantization: str, engine: str
) -> str | None:
    """Return a sentence that says why this cell cannot run, or None where it can.

    Args:
        model: the model of the cell.
        profile: the hardware profile of the cell.
        dtype: compute dtype, one of DTYPE_BYTES.
        quantization: of the weights, one of QUANTIZED_BYTES.
        engine: what generates.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    needed = memory_needed_bytes(model, dtype=dtype, quantization=quantization)
    gpu = profile.accelerator
    if gpu is None:
        if engine == "vllm":
            return f"engine vllm needs a GPU and {profile.name} has none"
        return _too_big(
            model, needed, profile.host_memory_bytes, f"{profile.name} has in main memory"
        )
    major, minor = gpu.compute_capability
    capability = f"compute capability {major}.{minor}"
    if dtype == "bfloat16" and not gpu.native_bf16:
        return f"{gpu.name} ({capability}) has no native bfloat16, which came with 8.0"
    if quantization == "int8" and gpu.compute_capability < _FIRST_INT8:
        return f"bitsandbytes int8 needs compute capability 7.5; {gpu.name} is {capability}"
    if engine == "vllm" and gpu.compute_capability < _FIRST_VLLM:
        return f"engine vllm needs compute capability 7.5; {gpu.name} is {capability}"
    return _too_big(
        model, needed, profile.gpu_memory_bytes, f"{profile.gpus} x {gpu.name} have together"
    )


def memory_needed_bytes(model: ModelSpec, *, dtype: str, quantization: str) -> int:
    """Return weights and KV cache of one sequence of 2,048 tokens, plus 10 %, in bytes.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    if dtype not in DTYPE_BYTES:
        raise UnknownName("dtype", dtype, DTYPE_BYTES)
    if quantization not in QUANTIZED_BYTES:
        raise UnknownName("quantization", quantization, QUANTIZED_BYTES)
    per_weight = QUANTIZED_BYTES[quantization] or DTYPE_BYTES[dtype]
    tokens = min(SEQUENCE_TOKENS, model.context_length)
    cache = tokens * model.kv_bytes_per_token(DTYPE_BYTES[dtype])
    return int((model.parameters * per_weight + cache) * _OVERHEAD)


def _too_big(model: ModelSpec, needed: int, available: int, whose: str) -> str | None:
    if needed <= available:
        return None
    return (
        f"{model.name} needs {needed / GIB:.1f} GiB for weights and one sequence of up to "
        f"{SEQUENCE_TOKENS} tokens; {whose} {available / GIB:.1f} GiB"
    )
