"""The dtype that a model computes in on an accelerator, and which cells cannot run.

Sources: compute capabilities from NVIDIA's whitepapers; from bitsandbytes' documentation the lowest
capability of LLM.int8 (7.5), and the CUDA builds that still support a V100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medsweep.errors import UnknownName
from medsweep.hardware.profile import FIRST_NATIVE_BF16, GIB, Accelerator, HardwareProfile
from medsweep.models.spec import ModelSpec

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one value, by compute dtype."""

# 4 bits and their block constants (bitsandbytes: an 8-bit one per 64 weights with double
# quantisation, a 32-bit one without) come to 0.52 to 0.56 bytes per weight.
QUANTIZED_BYTES: Mapping[str, float | None] = {
    "none": None,
    "int8": 1.0,
    "int4": 0.55,
    "nf4": 0.55,
}
"""Bytes of one weight, by quantization; None: the compute dtype's."""

EMBEDDING_QUANTIZATIONS = ("int4",)
"""Quantizations of the embeddings too (GGUF); bitsandbytes keeps these in the compute dtype."""

TRAINED_QUANTIZATIONS = ("none", "int8", "nf4")
"""Quantizations that can be trained on (bitsandbytes); int4 is OpenVINO's, for serving only."""

SEQUENCE_TOKENS = 2048
"""Length of the sequence that must fit: the paper's `max_seq_length`."""

# Activations, CUDA context and fragmentation: a round allowance that was not measured.
_OVERHEAD = 1.10

_FIRST_INT8 = (7, 5)


def choose_dtype(model: ModelSpec, accelerator: Accelerator | None) -> str:
    """Return the compute dtype: the fastest one that is native and does not overflow.

    Args:
        model: the model; if its activations overflow float16 (Gemma), it computes in float32.
        accelerator: None without a GPU.
    """
    return _fastest_dtype(model, accelerator.compute_capability if accelerator else None)


def dtype_reason(model: ModelSpec, accelerator: Accelerator | None, given: str) -> str:
    """Return why a model is served in its compute dtype, in a sentence for the results.

    Args:
        model: the model.
        accelerator: None without a GPU.
        given: the dtype that the user names, or `auto`.
    """
    if given != "auto":
        return "the user names it"
    if accelerator is None:
        return "auto: float32 on a processor, also on one with bfloat16 units; see docs/engines.md"
    if accelerator.native_bf16:
        return f"auto: {accelerator.name} has native bfloat16"
    if model.float16_overflows:
        return (
            f"auto: {accelerator.name} has no native bfloat16, and activations of {model.name} "
            "leave float16's range"
        )
    return f"auto: {accelerator.name} has no native bfloat16"


@dataclass(frozen=True)
class TrainingPrecision:
    """The precision of a fine-tune.

    Attributes:
        compute: dtype of the matrix products and of the base weights that are not quantized.
        adapters: dtype of the trained weights.
        grad_scaling: whether the loss is scaled up so that gradients do not underflow in float16.
        attention: implementation in transformers. PyTorch's own supports the masks of packed rows,
            chooses a fused kernel where there is one, and runs on every compute capability.
        degraded: why the result may be worse than elsewhere, or None.
        needs: the build of a library that it needs, or None.
        refused: why it cannot run, or None.
    """

    compute: str
    adapters: str = "float32"
    grad_scaling: bool = False
    attention: str = "sdpa"
    degraded: str | None = None
    needs: str | None = None
    refused: str | None = None


def training_precision(
    model: ModelSpec,
    capability: tuple[int, int] | None,
    quantization: str,
    dtype: str = "auto",
) -> TrainingPrecision:
    """Return the precision of a fine-tune, which the compute capability decides.

    `torch.cuda.is_bf16_supported()` counts emulation and returns True on a V100; transformers,
    DeepSpeed and TRL rely on it or assume bfloat16.

    Args:
        model: the base model.
        capability: compute capability of the GPU; None without one.
        quantization: of the base weights, one of TRAINED_QUANTIZATIONS.
        dtype: compute dtype, one of DTYPE_BYTES, or `auto` for the fastest that is native and does
            not overflow.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    if dtype not in ("auto", *DTYPE_BYTES):
        raise UnknownName("dtype", dtype, ["auto", *DTYPE_BYTES])
    if quantization not in TRAINED_QUANTIZATIONS:
        raise UnknownName("quantization", quantization, TRAINED_QUANTIZATIONS)
    compute = _fastest_dtype(model, capability) if dtype == "auto" else dtype
    refused = _refusal(capability, compute, quantization)
    if refused:
        return TrainingPrecision(compute, refused=refused)
    degraded = None
    if model.float16_overflows and compute == "float16":
        degraded = (
            f"activations of {model.name} leave the range of float16; a Gemma adds them up in "
            "float32, which has not been tried with its real weights"
        )
    elif model.float16_overflows and quantization == "int8" and capability is not None:
        degraded = f"int8 layers cast their input to float16, which {model.name} overflows"
    return TrainingPrecision(
        compute,
        grad_scaling=compute == "float16",
        degraded=degraded,
        needs=_needed_build(capability, quantization),
    )


def _fastest_dtype(model: ModelSpec, capability: tuple[int, int] | None) -> str:
    if capability is None:
        return "float32"
    if capability >= FIRST_NATIVE_BF16:
        return "bfloat16"
    return "float32" if model.float16_overflows else "float16"


def _needed_build(capability: tuple[int, int] | None, quantization: str) -> str | None:
    if quantization == "none" or capability is None or capability >= _FIRST_INT8:
        return None
    return "bitsandbytes for CUDA 11.8 to 12.8"


def _refusal(capability: tuple[int, int] | None, compute: str, quantization: str) -> str | None:
    if capability is None:
        return "float16 needs a GPU" if compute == "float16" else None
    has = f"this GPU has compute capability {capability[0]}.{capability[1]}"
    if compute == "bfloat16" and capability < FIRST_NATIVE_BF16:
        return f"bfloat16 needs compute capability 8.0; {has}"
    if quantization == "int8" and capability < _FIRST_INT8:
        return f"bitsandbytes int8 needs compute capability 7.5; {has}"
    return None


def serving_refusal(
    model: ModelSpec,
    profile: HardwareProfile,
    *,
    dtype: str,
    quantization: str,
    splits: bool = False,
    packed: bool = False,
) -> str | None:
    """Return a sentence that says why a model cannot be served on a profile, or None if it can.

    What an engine needs besides is in `serving.engines.compatibility`.

    Args:
        model: the model of the cell.
        profile: the hardware profile of the cell.
        dtype: compute dtype, one of DTYPE_BYTES.
        quantization: of the weights, one of QUANTIZED_BYTES.
        splits: whether the engine splits a model over all GPUs; otherwise it must fit one.
        packed: as in `memory_needed_bytes`.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    gpu = profile.accelerator
    if gpu is None:
        owner = f"{profile.name} has in main memory"
    else:
        major, minor = gpu.compute_capability
        capability = f"compute capability {major}.{minor}"
        if dtype == "bfloat16" and not gpu.native_bf16:
            return f"{gpu.name} ({capability}) has no native bfloat16, which came with 8.0"
        if quantization == "int8" and gpu.compute_capability < _FIRST_INT8:
            return f"bitsandbytes int8 needs compute capability 7.5; {gpu.name} is {capability}"
        together = splits and profile.gpus > 1
        owner = f"{profile.gpus} x {gpu.name} have together" if together else f"one {gpu.name} has"
    if fits(model, profile, dtype=dtype, quantization=quantization, splits=splits, packed=packed):
        return None
    needed = memory_needed_bytes(model, dtype=dtype, quantization=quantization, packed=packed)
    available = _serving_memory_bytes(profile, splits=splits)
    return (
        f"{model.name} needs {needed / GIB:.1f} GiB for weights and one sequence of up to "
        f"{SEQUENCE_TOKENS} tokens; {owner} {available / GIB:.1f} GiB"
        + (", and only engine vllm splits a model" if needed <= profile.gpu_memory_bytes else "")
    )


def fits(
    model: ModelSpec,
    profile: HardwareProfile,
    *,
    dtype: str,
    quantization: str,
    tokens: int = SEQUENCE_TOKENS,
    splits: bool = False,
    packed: bool = False,
) -> bool:
    """Return whether a model and one sequence fit one GPU of a profile, or its main memory.

    The allowance of 10 % is more than the 8 % of a GPU that vLLM leaves free (0.32).

    Args:
        model: the model.
        profile: the hardware profile.
        dtype: compute dtype, one of DTYPE_BYTES.
        quantization: of the weights, one of QUANTIZED_BYTES.
        tokens: length of the sequence.
        splits: whether it may be split over all GPUs of the profile.
        packed: as in `memory_needed_bytes`.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    needed = memory_needed_bytes(
        model, dtype=dtype, quantization=quantization, tokens=tokens, packed=packed
    )
    return needed <= _serving_memory_bytes(profile, splits=splits)


def memory_needed_bytes(
    model: ModelSpec,
    *,
    dtype: str,
    quantization: str,
    sequences: int = 1,
    tokens: int = SEQUENCE_TOKENS,
    packed: bool = False,
) -> int:
    """Return weights and KV cache, plus 10 %, in bytes.

    Args:
        model: the model.
        dtype: compute dtype, one of DTYPE_BYTES.
        quantization: of the weights, one of QUANTIZED_BYTES.
        sequences: number of sequences in the cache.
        tokens: length of each.
        packed: whether the engine packs weights, so that a tied output layer has a copy.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    if dtype not in DTYPE_BYTES:
        raise UnknownName("dtype", dtype, DTYPE_BYTES)
    if quantization not in QUANTIZED_BYTES:
        raise UnknownName("quantization", quantization, QUANTIZED_BYTES)
    weights = weight_bytes(
        model.parameters, model.embedding_parameters, dtype=dtype, quantization=quantization
    )
    if packed and model.tied_embeddings:
        weights += model.vocab_size * model.hidden_size * DTYPE_BYTES[dtype]
    return int((weights + sequences * _sequence_bytes(model, dtype, tokens)) * _OVERHEAD)


def sequences_that_fit(
    model: ModelSpec,
    profile: HardwareProfile,
    *,
    dtype: str,
    quantization: str,
    tokens: int,
    splits: bool = False,
    packed: bool = False,
) -> int:
    """Return how many sequences have room beside the weights, at most.

    Args:
        model: the model.
        profile: the hardware.
        dtype: compute dtype, one of DTYPE_BYTES.
        quantization: of the weights, one of QUANTIZED_BYTES.
        tokens: length of each sequence.
        splits: whether the engine splits a model over all GPUs.
        packed: as in `memory_needed_bytes`.

    Raises:
        UnknownName: no such dtype or quantization.
    """
    weights = memory_needed_bytes(
        model,
        dtype=dtype,
        quantization=quantization,
        sequences=0,
        packed=packed,
    )
    free = _serving_memory_bytes(profile, splits=splits) - weights
    return max(0, int(free / (_sequence_bytes(model, dtype, tokens) * _OVERHEAD)))


def _sequence_bytes(model: ModelSpec, dtype: str, tokens: int) -> int:
    return min(tokens, model.context_length) * model.kv_bytes_per_token(DTYPE_BYTES[dtype])


def _serving_memory_bytes(profile: HardwareProfile, *, splits: bool) -> int:
    """Return the memory that holds one copy of a served model."""
    if profile.accelerator is None:
        return profile.host_memory_bytes
    return profile.gpu_memory_bytes if splits else profile.accelerator.usable_bytes


def weight_bytes(parameters: int, embeddings: int, *, dtype: str, quantization: str) -> float:
    """Return the bytes of weights.

    Args:
        parameters: all of them.
        embeddings: those of them that are in embeddings and output layer.
        dtype: compute dtype, one of DTYPE_BYTES.
        quantization: of the weights, one of QUANTIZED_BYTES.
    """
    plain = DTYPE_BYTES[dtype]
    quantized = QUANTIZED_BYTES[quantization] or plain
    apart = 0 if quantization in EMBEDDING_QUANTIZATIONS else embeddings
    return (parameters - apart) * quantized + apart * plain
