"""Which engine runs on which hardware with which model, and why not where it does not.

Sources: lowest compute capability of current vLLM (7.5) and of FlashAttention-2 (8.0) from their
documentation; vLLM's sizes of heads from its attention for CPUs (0.32). OpenVINO computes on the
CPU here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from medsweep.hardware.nvidia import observe_gpus
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.precision import SEQUENCE_TOKENS, fits
from medsweep.models.spec import ModelSpec
from medsweep.models.wheels import GGUF_WHEELS
from medsweep.serving.engines.environment import environment_of
from medsweep.serving.engines.plugins import plugin_quantizations, plugin_refusal, plugins

FIRST_VLLM = (7, 5)
FIRST_FLASH_ATTENTION = (8, 0)

NO_VLLM_LORA = "c_attn"
"""A layer of GPT-2, for which vLLM has no LoRA (0.32; its class is without SupportsLoRA)."""

VLLM_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)

PACKAGES = {"openvino": "openvino_genai"}
"""Package that an engine needs besides MedSweep's own; the extra has the engine's name."""

SPLITTING = ("vllm",)
"""Engines that split a model over several GPUs (tensor parallelism) where it does not fit one."""

PACKING = ("generate", "continuous")
"""Engines that pack weights on a CPU (`engines.packed`)."""

REPLICATED = ("generate", "continuous", "vllm")
"""Engines that have a replica on each GPU where the model fits one, behind one endpoint."""

SCORING = ("generate", "continuous")
"""Engines that give log-probabilities however an adapter is served."""

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


def missing_here(engine: str, profile: HardwareProfile) -> str | None:
    """Return what an engine lacks on this machine, in a sentence; None if it is installed.

    Args:
        engine: name of the engine.
        profile: the hardware; without its GPU, this machine's CPU stands in for it.
    """
    if (lacking := missing_package(engine)) is not None:
        return lacking
    if engine == "vllm":
        environment = environment_of("vllm", gpu=profile.gpus > 0 and bool(observe_gpus()))
        if not environment.installed:
            return f"engine vllm is not installed here: {environment.remedy}"
    return None


def missing_package(engine: str) -> str | None:
    """Return which package of MedSweep's own environment an engine lacks; None if none."""
    package = PACKAGES.get(engine)
    if package is None or installed(package):
        return None
    return f"engine {engine} needs the package {package}: pip install 'medsweep[{engine}]'"


def missing_in_images(engine: str, profile: HardwareProfile) -> str | None:
    """Return what an engine lacks in the image of a profile's pods; None if the image holds it.

    Args:
        engine: name of the engine.
        profile: the hardware, which determines the image; see k8s/images.
    """
    if engine not in ENGINE_QUANTIZATIONS and engine in plugins():
        return f"engine {engine} is a plugin, which the images do not hold; run it on this machine"
    if engine == "openvino" or (engine == "vllm" and profile.accelerator is None):
        return f"engine {engine} is not in the image for {profile.name}; see k8s/images"
    return None


def unsupported(
    engine: str,
    profile: HardwareProfile,
    model: ModelSpec,
    *,
    quantization: str = "none",
    adapters: str = "none",
    missing: Callable[[str, HardwareProfile], str | None] = missing_here,
) -> str | None:
    """Return a sentence that says why an engine cannot serve a model on a profile, or None.

    Args:
        engine: name of the engine.
        profile: the hardware profile.
        model: the model.
        quantization: of the weights.
        adapters: how an adapter is served, `live` or `merged`; `none` without one.
        missing: says what the engine lacks where it will run.
    """
    gpu = profile.accelerator
    if engine == "vllm":
        if gpu is not None and gpu.compute_capability < FIRST_VLLM:
            major, minor = gpu.compute_capability
            return (
                f"engine vllm needs compute capability 7.5; {gpu.name} is "
                f"compute capability {major}.{minor}"
            )
        if model.head_dim not in VLLM_HEAD_DIMS:
            return (
                f"engine vllm has no attention for heads of {model.head_dim} values, which "
                f"{model.name} has"
            )
        if adapters == "live" and NO_VLLM_LORA in model.lora_targets:
            return (
                f"engine vllm has no LoRA for {model.name}; a merged adapter can be served "
                "(adapters: merged)"
            )
    if engine == "openvino":
        if gpu is not None:
            return f"engine openvino computes on the CPU; {profile.name} has a {gpu.name}"
        if (without := no_gguf(model)) is not None:
            return without
    if adapters == "merged" and quantization != "none":
        return (
            f"a merged adapter is not served with quantization {quantization}: it would round the "
            "sum of base and adapter, which is another model than the quantized base with its "
            "adapter; take adapters: live, or quantization: none"
        )
    if engine not in ENGINE_QUANTIZATIONS and (refused := plugin_refusal(engine, profile, model)):
        return refused
    return missing(engine, profile) or wrong_quantization(engine, quantization)


def no_log_probabilities(engine: str, adapters: str) -> str | None:
    """Return a sentence that says why an engine gives no log-probabilities, or None if it does.

    Args:
        engine: name of an engine that is not a plugin.
        adapters: how an adapter is served, `live` or `merged`; `none` without one.
    """
    if engine == "vllm":
        beside = "engine vllm gives no log-probabilities beside live adapters"
        return beside if adapters == "live" else None
    return None if engine in SCORING else f"engine {engine} gives no log-probabilities"


def no_gguf(model: ModelSpec) -> str | None:
    """Return why the engine `openvino` has no weights of a model, or None if it has."""
    if model.name in GGUF_WHEELS:
        return None
    return (
        f"engine openvino reads weights from GGUF, and {model.name} has none; "
        f"it serves {', '.join(GGUF_WHEELS)}"
    )


@dataclass(frozen=True)
class GpuUse:
    """How an engine uses the GPUs of a machine.

    Attributes:
        replicas: engines that share the requests, each on GPUs of its own.
        gpus: GPUs that each of them has; 0 computes on the CPU.
        words: description for the results; None with fewer than two GPUs, and where the engine is
            not MedSweep's and decides for itself.
    """

    replicas: int = 1
    gpus: int = 0
    words: str | None = None


def gpu_use(
    engine: str,
    model: ModelSpec,
    profile: HardwareProfile,
    *,
    dtype: str,
    quantization: str,
    tokens: int = SEQUENCE_TOKENS,
) -> GpuUse:
    """Return how an engine uses the GPUs of a machine.

    vLLM does not start where one request of `max_model_len` tokens has no room beside the weights.

    Args:
        engine: name of the engine.
        model: the base model.
        profile: the hardware.
        dtype: compute dtype.
        quantization: of the weights.
        tokens: longest request that the engine must have room for.
    """
    gpus = profile.gpus
    if gpus < 2:
        return GpuUse(gpus=gpus)
    fits_one = fits(model, profile, dtype=dtype, quantization=quantization, tokens=tokens)
    if engine in SPLITTING and not fits_one:
        return GpuUse(gpus=gpus, words=f"tensor parallel over {gpus}")
    if engine in REPLICATED:
        return GpuUse(replicas=gpus, gpus=1, words=f"{gpus} replicas")
    return GpuUse(gpus=gpus)


def packs_weights(engine: str, profile: HardwareProfile, *, dtype: str, quantization: str) -> bool:
    """Return whether an engine packs a model's weights on a machine (`engines.packed`).

    Args:
        engine: name of the engine.
        profile: the hardware.
        dtype: compute dtype.
        quantization: of the weights.
    """
    torch_on_cpu = engine in PACKING and profile.accelerator is None
    return torch_on_cpu and quantization == "none" and dtype in ("float32", "bfloat16")


def wrong_quantization(engine: str, quantization: str) -> str | None:
    """Return a sentence that says which quantizations an engine has, or None if it has this."""
    allowed = ENGINE_QUANTIZATIONS.get(engine) or plugin_quantizations(engine) or (quantization,)
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
