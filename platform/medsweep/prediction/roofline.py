"""The roofline of a model on a machine: the time for its bytes, operations and kernel launches.

It gives an estimate, with assumed shares of the datasheet's peaks and an assumed launch time, and
the least time, at the peaks themselves and without launches. Only the latter is a bound.

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

from medsweep.digits import percent
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.precision import DTYPE_BYTES, weight_bytes
from medsweep.models.spec import ModelSpec

OF_PEAK_BANDWIDTH = 0.8
OF_PEAK_FLOPS = 0.5
"""Assumptions, not measurements: what eager kernels usually sustain of the datasheet's peaks."""

LAUNCH_S = 8e-6
"""CPU time to launch one kernel from eager PyTorch, in seconds: an assumption of the right order,
not measured on the machine in question."""

# Counted with a TorchDispatchMode over one decoding step (torch 2.13, transformers 5.23, PEFT
# 0.21): 40 kernels in a Llama block with 7 matrices, 44 in Gemma's, 21 in GPT-2's with 4.
_KERNELS_PER_MATRIX = 5.7
_KERNELS_OUTSIDE_BLOCKS = 23

# Rows that bitsandbytes 0.50 multiplies with packed 4-bit weights in one kernel. With more it
# unpacks a matrix in memory first, in every step. Its own limit depends on the matrix too: 8 to 128
# rows from Turing to Ada, of which this is the middle. From Hopper on unpacking is faster, so most
# matrices of an 8B model are unpacked from 8 rows on, which was measured on an H100.
_PACKED_ROWS = 32
_FEW_PACKED_ROWS = 7
_FIRST_MMA = (7, 5)
_FIRST_FAST_UNPACKING = (9, 0)

ASSUMPTIONS = (
    f"estimates assume {percent(OF_PEAK_BANDWIDTH)} of the peak bandwidth, "
    f"{percent(OF_PEAK_FLOPS)} of the peak FLOP/s and {LAUNCH_S * 1e6:.0f} us per kernel launch; "
    "only `least` is a bound"
)

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
        peak_bytes_per_s: bandwidth that no step can exceed; None where it is not known.
        peak_flops: operations per second that no step can exceed; None in the same case.
        packed_rows: most rows that are multiplied with 4-bit weights without unpacking them.
    """

    bytes_per_s: float
    flops: float
    launch_s: float
    overlaps: bool
    peak_bytes_per_s: float | None = None
    peak_flops: float | None = None
    packed_rows: int = _PACKED_ROWS


@dataclass(frozen=True)
class Execution:
    """How kernels are launched.

    Attributes:
        adapter_kernels: kernels for the low-rank pair of one matrix.
        graphs: whether a decoding step is a CUDA graph, which is launched with one call.
    """

    adapter_kernels: int
    graphs: bool


PEFT = Execution(adapter_kernels=5, graphs=False)
"""Training, and the questions after each epoch: eager PyTorch with PEFT's layers."""


def served_by(engine: str, *, gpu: bool, merged: bool = False) -> Execution:
    """Return how an engine launches its kernels.

    Args:
        engine: its name; `continuous` and `vllm` capture decoding steps on a GPU.
        gpu: whether it computes on one.
        merged: whether the adapter is part of the base's weights.
    """
    kernels = 0 if merged else 2
    return Execution(adapter_kernels=kernels, graphs=gpu and engine in ("continuous", "vllm"))


@dataclass(frozen=True)
class StepTime:
    """The time of one step, and what bounds it.

    Attributes:
        seconds: estimated time of the step.
        bound: the part that takes longest: `bandwidth`, `compute` or `launches`.
        least_s: time at the machine's peaks, without launches: no step is faster, unless part of
            the weights stays in the GPU's cache. None where the peaks are not known.
    """

    seconds: float
    bound: str
    least_s: float | None = None


def datasheet_machine(profile: HardwareProfile, dtype: str, gpus: int = 1) -> Machine | None:
    """Return a machine with the figures of a profile's datasheet; None where these are incomplete.

    Args:
        profile: the hardware profile.
        dtype: compute dtype.
        gpus: GPUs that compute every layer together (tensor parallel); their exchange is not
            counted.
    """
    gpu = profile.accelerator
    if gpu is None or gpu.memory_bandwidth_bytes_per_s is None or dtype not in gpu.peak_flops:
        return None
    return Machine(
        bytes_per_s=gpus * gpu.memory_bandwidth_bytes_per_s * OF_PEAK_BANDWIDTH,
        flops=gpus * gpu.peak_flops[dtype] * OF_PEAK_FLOPS,
        launch_s=LAUNCH_S,
        overlaps=True,
        peak_bytes_per_s=gpus * gpu.memory_bandwidth_bytes_per_s,
        peak_flops=gpus * gpu.peak_flops[dtype],
        packed_rows=_PACKED_ROWS
        if _FIRST_MMA <= gpu.compute_capability < _FIRST_FAST_UNPACKING and dtype != "float32"
        else _FEW_PACKED_ROWS,
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
    model: ModelSpec,
    machine: Machine,
    *,
    dtype: str,
    quantization: str,
    batch: int,
    context: int,
    execution: Execution = PEFT,
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
        execution: how kernels are launched.
    """
    cache = batch * context * model.kv_bytes_per_token(DTYPE_BYTES[dtype])
    unpacked, more = _unpacked(model, machine, dtype, quantization, batch)
    return _slowest(
        machine,
        bytes_=read_bytes(model, dtype=dtype, quantization=quantization) + cache,
        unpacked=unpacked,
        operations=2.0 * model.computed_parameters * batch,
        kernels=1 if execution.graphs else _kernels(model, execution) + more,
    )


def prefill(
    model: ModelSpec,
    machine: Machine,
    *,
    dtype: str,
    quantization: str,
    tokens: int,
    execution: Execution = PEFT,
) -> StepTime:
    """Return the time of computing a prompt, all its tokens in one step.

    Args:
        model: with a LoRA adapter that is not merged.
        machine: what runs it.
        dtype: compute dtype.
        quantization: of the weights.
        tokens: total of the prompts that are computed together.
        execution: how kernels are launched.
    """
    unpacked, more = _unpacked(model, machine, dtype, quantization, tokens)
    return _slowest(
        machine,
        bytes_=read_bytes(model, dtype=dtype, quantization=quantization),
        unpacked=unpacked,
        operations=2.0 * model.computed_parameters * tokens,
        kernels=_kernels(model, execution) + more,
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
    unpacked, more = _unpacked(model, machine, dtype, quantization, tokens)
    return _slowest(
        machine,
        bytes_=2 * read_bytes(model, dtype=dtype, quantization=quantization),
        unpacked=2 * unpacked,
        operations=4.0 * model.computed_parameters * tokens,
        kernels=3 * _kernels(model, PEFT) + 2 * more,
    )


def _kernels(model: ModelSpec, execution: Execution) -> float:
    per_matrix = _KERNELS_PER_MATRIX + execution.adapter_kernels
    return model.layers * model.matrices_per_layer * per_matrix + _KERNELS_OUTSIDE_BLOCKS


def _unpacked(
    model: ModelSpec, machine: Machine, dtype: str, quantization: str, rows: int
) -> tuple[float, int]:
    """Return bytes and kernels of unpacking the 4-bit weights of the blocks: written, then read."""
    if quantization != "nf4" or rows <= machine.packed_rows:
        return 0.0, 0
    blocks = model.computed_parameters - model.vocab_size * model.hidden_size
    return 2.0 * blocks * DTYPE_BYTES[dtype], model.layers * model.matrices_per_layer


def _slowest(
    machine: Machine, *, bytes_: float, unpacked: float, operations: float, kernels: float
) -> StepTime:
    parts = {
        "bandwidth": (bytes_ + unpacked) / machine.bytes_per_s,
        "compute": operations / machine.flops,
        "launches": kernels * machine.launch_s,
    }
    bound = max(parts, key=lambda name: parts[name])
    least_s = None
    if machine.peak_bytes_per_s is not None and machine.peak_flops is not None:
        # A kernel could do without unpacking.
        least_s = max(bytes_ / machine.peak_bytes_per_s, operations / machine.peak_flops)
    if machine.overlaps:
        return StepTime(parts[bound], bound, least_s)
    return StepTime(max(parts["bandwidth"], parts["compute"]) + parts["launches"], bound, least_s)


def _best(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest try."""
    tries = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return min(tries)
