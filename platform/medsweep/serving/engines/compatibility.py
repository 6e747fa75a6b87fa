"""Which engine runs on which hardware with which model, and why not where it does not.

Sources: lowest compute capability of current vLLM (7.5) and of FlashAttention-2 (8.0) from their
documentation. OpenVINO computes on the CPU here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from medsweep.hardware.profile import HardwareProfile
from medsweep.models.spec import ModelSpec
from medsweep.models.wheels import GGUF_WHEELS

FIRST_VLLM = (7, 5)
FIRST_FLASH_ATTENTION = (8, 0)

PACKAGES = {"vllm": "vllm", "openvino": "openvino_genai"}
"""Package that an engine needs besides MedSweep's own; the extra has the engine's name."""

SPLITTING = ("vllm",)
"""Engines that split one model over several GPUs (tensor parallelism)."""

REPLICATED = ("generate", "continuous")
"""Engines of which one process has a replica on each GPU."""

ENGINE_QUANTIZATIONS = {
    "generate": ("none", "int8", "nf4"),
    "continuous": ("none", "int8", "nf4"),
    "openvino": ("int8", "int4"),
    "vllm": ("none",),
}
"""What the weights may be, by engine."""


def installed(package: str) -> bool:
    """Whether a package is there to be imported."""
    return importlib.util.find_spec(package) is not None


def unsupported(
    engine: str,
    profile: HardwareProfile,
    model: ModelSpec,
    *,
    quantization: str = "none",
    has: Callable[[str], bool] = installed,
) -> str | None:
    """Return a sentence that says why an engine cannot serve a model on a profile, or None.

    Args:
        engine: name of the engine.
        profile: the hardware profile.
        model: the model.
        quantization: of the weights.
        has: whether a package is installed where the engine will run.
    """
    gpu = profile.accelerator
    if engine == "vllm":
        if gpu is None:
            return f"engine vllm needs a GPU and {profile.name} has none"
        if gpu.compute_capability < FIRST_VLLM:
            major, minor = gpu.compute_capability
            return (
                f"engine vllm needs compute capability 7.5; {gpu.name} is "
                f"compute capability {major}.{minor}"
            )
        if model.source == "standin":
            return f"engine vllm serves no stand-ins; {model.name} is one"
    if engine == "openvino":
        if gpu is not None:
            return f"engine openvino computes on the CPU; {profile.name} has a {gpu.name}"
        if model.name not in GGUF_WHEELS:
            return (
                f"engine openvino reads weights from GGUF, and {model.name} has none; "
                f"it serves {', '.join(GGUF_WHEELS)}"
            )
    package = PACKAGES.get(engine)
    if package and not has(package):
        return f"engine {engine} needs the package {package}: pip install 'medsweep[{engine}]'"
    return wrong_quantization(engine, quantization)


def replicas_on(engine: str, gpus: int) -> int:
    """Return how many replicas of an engine share the requests on so many GPUs."""
    return max(1, gpus) if engine in REPLICATED else 1


def gpu_use(engine: str, gpus: int) -> str | None:
    """Return how an engine uses several GPUs, in words; None with fewer than two."""
    if gpus < 2:
        return None
    if engine in SPLITTING:
        return f"tensor parallel over {gpus}"
    return f"{gpus} replicas" if engine in REPLICATED else "one of them"


def wrong_quantization(engine: str, quantization: str) -> str | None:
    """Return a sentence that says which quantizations an engine has, or None if it has this."""
    allowed = ENGINE_QUANTIZATIONS.get(engine, (quantization,))
    if quantization in allowed:
        return None
    return f"engine {engine} has quantization {' or '.join(allowed)}, not {quantization}"


def attention_implementation(
    capability: tuple[int, int] | None, dtype: str, has: Callable[[str], bool] = installed
) -> str:
    """Return transformers' name of the fastest attention that a device has.

    Args:
        capability: compute capability of the GPU; None without one.
        dtype: compute dtype; FlashAttention has 16-bit kernels only.
        has: whether a package is installed.
    """
    fits = capability is not None and capability >= FIRST_FLASH_ATTENTION
    if fits and dtype in ("float16", "bfloat16") and has("flash_attn"):
        return "flash_attention_2"
    return "sdpa"
