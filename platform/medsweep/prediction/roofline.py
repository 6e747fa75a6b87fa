"""The roofline of a model on a machine: the time for its bytes, operations and kernel launches.

A step takes as long as the slowest of three (Williams, Waterman, Patterson: "Roofline", CACM 2009,
and Pope et al.: "Efficiently Scaling Transformer Inference", 2022, for the counts): reading the
weights and the cache, computing, and, in eager PyTorch, the one CPU thread that launches kernels.
The last is why a faster GPU can be no faster on a small batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from medsweep.hardware.profile import HardwareProfile
from medsweep.models.precision import DTYPE_BYTES, weight_bytes
from medsweep.models.spec import ModelSpec

# Assumptions, not measurements: what eager kernels usually sustain of the datasheet's peaks.
_OF_PEAK_BANDWIDTH = 0.8
_OF_PEAK_FLOPS = 0.5

LAUNCH_S = 8e-6
"""CPU time to launch one kernel from eager PyTorch, in seconds: an assumption of the right order,
not measured on the machine in question."""

# Counted with a TorchDispatchMode over one decoding step (torch 2.13, transformers 5.23, PEFT
# 0.21): 40 kernels in a Llama block with 7 matrices, 44 in Gemma's, 21 in GPT-2's with 4.
_KERNELS_PER_MATRIX = 5.7
_KERNELS_PER_LORA_MATRIX = 5
_KERNELS_OUTSIDE_BLOCKS = 23


_MATRIX = 1024
_LARGE_MATRIX = 8192
"""256 MiB in float32: several times any cache, so that the bandwidth of memory is measured."""

_TRIES = 5


@dataclass(frozen=True)
class Machine:
    """A machine's figures that a roofline needs.

    Attributes:
        bytes_per_s: sustained memory bandwidth, in bytes per second.
        flops: sustained operations per second in the dtype in question.
        launch_s: CPU time to launch one kernel, in seconds.
        overlaps: whether kernels run while the next ones are launched, as on a GPU.
    """

    bytes_per_s: float
    flops: float
    launch_s: float
    overlaps: bool


@dataclass(frozen=True)
class StepTime:
    """The time of one step, and what bounds it.

    Attributes:
        seconds: time of the step.
        bound: the part that takes longest: `bandwidth`, `compute` or `launches`.
    """

    seconds: float
    bound: str


def datasheet_machine(profile: HardwareProfile, dtype: str) -> Machine | None:
    """Return a machine with the figures of a profile's datasheet; None where these are incomplete.

    Only one GPU counts: a model that is split over two is computed on one after the other.

    Args:
        profile: the hardware profile.
        dtype: compute dtype.
    """
    gpu = profile.accelerator
    if gpu is None or gpu.memory_bandwidth_bytes_per_s is None or dtype not in gpu.peak_flops:
        return None
    return Machine(
        bytes_per_s=gpu.memory_bandwidth_bytes_per_s * _OF_PEAK_BANDWIDTH,
        flops=gpu.peak_flops[dtype] * _OF_PEAK_FLOPS,
        launch_s=LAUNCH_S,
        overlaps=True,
    )


@cache
def measured_machine() -> Machine:
    """Measure what the cores of this process sustain, in about a second: the best of five tries.

    A float32 matrix times a vector reads every value once, as decoding does. A matrix times a
    matrix is bound by computing, as training and prompts are.
    """
    import numpy as np

    large = np.ones((_LARGE_MATRIX, _LARGE_MATRIX), dtype=np.float32)
    square = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    reading_s = _best(lambda: large @ large[0])
    computing_s = _best(lambda: square @ square)
    return Machine(
        bytes_per_s=large.nbytes / reading_s,
        flops=2 * _MATRIX**3 / computing_s,
        launch_s=LAUNCH_S,
        overlaps=False,
    )


def read_bytes(model: ModelSpec, *, dtype: str, quantization: str) -> float:
    """Return the bytes of the weights that a step reads, without embeddings that it only looks up.

    bitsandbytes quantizes the blocks and leaves the output layer in the compute dtype.
    """
    return weight_bytes(
        model.computed_parameters,
        model.vocab_size * model.hidden_size,
        dtype=dtype,
        quantization=quantization,
    )


def decode_step(
    model: ModelSpec, machine: Machine, *, dtype: str, quantization: str, batch: int, context: int
) -> StepTime:
    """Return the time of one decoding step: one token for each sequence of a batch.

    Every weight is read once, and every cache once per sequence; each weight takes two operations
    per token.

    Args:
        model: with a LoRA adapter that is not merged.
        machine: what runs it.
        dtype: compute dtype, also of the cache.
        quantization: of the weights.
        batch: number of sequences.
        context: tokens of each so far.
    """
    cache = batch * context * model.kv_bytes_per_token(DTYPE_BYTES[dtype])
    return _slowest(
        machine,
        bytes_=read_bytes(model, dtype=dtype, quantization=quantization) + cache,
        operations=2.0 * model.computed_parameters * batch,
        kernels=_kernels(model),
    )


def prefill(
    model: ModelSpec, machine: Machine, *, dtype: str, quantization: str, tokens: int
) -> StepTime:
    """Return the time of computing a prompt, all its tokens in one step.

    Args:
        model: with a LoRA adapter that is not merged.
        machine: what runs it.
        dtype: compute dtype.
        quantization: of the weights.
        tokens: total of the prompts that are computed together.
    """
    return _slowest(
        machine,
        bytes_=read_bytes(model, dtype=dtype, quantization=quantization),
        operations=2.0 * model.computed_parameters * tokens,
        kernels=_kernels(model),
    )


def lora_step(
    model: ModelSpec, machine: Machine, *, dtype: str, quantization: str, tokens: int
) -> StepTime:
    """Return the time of one LoRA training step.

    The forward pass takes 2 operations per weight and token, the backward pass through the
    activations 2 more (Kaplan et al. 2020 count 2 and 4; the frozen weights need no gradient).

    Args:
        model: with a LoRA adapter that is not merged.
        machine: what runs it.
        dtype: compute dtype.
        quantization: of the weights.
        tokens: of the step's sequences.
    """
    return _slowest(
        machine,
        bytes_=2 * read_bytes(model, dtype=dtype, quantization=quantization),
        operations=4.0 * model.computed_parameters * tokens,
        kernels=3 * _kernels(model),
    )


def _kernels(model: ModelSpec) -> float:
    matrices = model.layers * model.matrices_per_layer
    return matrices * (_KERNELS_PER_MATRIX + _KERNELS_PER_LORA_MATRIX) + _KERNELS_OUTSIDE_BLOCKS


def _slowest(machine: Machine, *, bytes_: float, operations: float, kernels: float) -> StepTime:
    parts = {
        "bandwidth": bytes_ / machine.bytes_per_s,
        "compute": operations / machine.flops,
        "launches": kernels * machine.launch_s,
    }
    bound = max(parts, key=lambda name: parts[name])
    if machine.overlaps:
        return StepTime(parts[bound], bound)
    return StepTime(max(parts["bandwidth"], parts["compute"]) + parts["launches"], bound)


def _best(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest try."""
    tries = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return min(tries)
