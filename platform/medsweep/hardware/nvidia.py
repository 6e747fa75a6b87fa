"""The GPUs that this process may use, as NVIDIA's driver reports them through NVML."""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Thread
from typing import Any

_TIMEOUT_S = 15.0
"""Loading the driver takes seconds per GPU where it is unloaded between uses."""


@dataclass(frozen=True)
class ObservedGpu:
    """One GPU as its driver reports it.

    Attributes:
        name: product name; " (MIG)" is appended where the GPU is divided into slices.
        driver: driver version.
        cuda: newest CUDA version that the driver supports ("12.6").
        memory_bytes: total memory, in bytes.
        compute_capability: major and minor.
    """

    name: str
    driver: str
    cuda: str
    memory_bytes: int
    compute_capability: tuple[int, int]


@dataclass(frozen=True)
class Device:
    """One GPU that this process may use.

    Attributes:
        index: its number on this machine.
        handle: what NVML's functions take.
        is_sliced: whether it is divided into slices (MIG).
    """

    index: int
    handle: Any
    is_sliced: bool


def observe_gpus() -> tuple[ObservedGpu, ...]:
    """Return the visible GPUs; empty without a driver, or where it fails or hangs."""
    gpus: list[ObservedGpu] = []
    # In a thread, so that a driver that hangs does not stop the program.
    thread = Thread(target=lambda: gpus.extend(_observed()), name="nvml", daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    return tuple(gpus)


def visible_devices(nvml: Any) -> tuple[list[Device], list[str]]:
    """Return the GPUs that this process may use, and the faults of those that do not answer.

    Args:
        nvml: the module `pynvml` of nvidia-ml-py after its `nvmlInit`, or a fake.
    """
    devices, faults = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError as error:
            # Lost, or another user's; it need not concern this process.
            faults.append(f"GPU {index}: {error}")
            continue
        if _is_visible(str(index), uuid):
            devices.append(Device(index, handle, _is_sliced(nvml, handle)))
    return devices, faults


def _observed() -> list[ObservedGpu]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    gpus = []
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        for device in visible_devices(pynvml)[0]:
            try:
                name = pynvml.nvmlDeviceGetName(device.handle)
                gpu = ObservedGpu(
                    # A slice is not the GPU: under another name it matches no hardware profile.
                    name=f"{name} (MIG)" if device.is_sliced else name,
                    driver=pynvml.nvmlSystemGetDriverVersion(),
                    cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
                    memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(device.handle).total,
                    compute_capability=tuple(
                        pynvml.nvmlDeviceGetCudaComputeCapability(device.handle)
                    ),
                )
            except pynvml.NVMLError:
                continue  # in no state to be measured
            gpus.append(gpu)
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
    return gpus


def _is_sliced(nvml: Any, handle: Any) -> bool:
    try:
        now, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # no such thing before the A100
    return bool(now)


def _is_visible(index: str, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES, which NVML ignores, leaves this GPU to the process."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return True
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    return any(
        name == index or (name.startswith("GPU-") and uuid.startswith(name)) for name in names
    )
