"""The GPUs that this process may use, as NVIDIA's driver reports them through NVML."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from medsweep.errors import EnvironmentFault
from medsweep.hardware.profile import HardwareProfile

_TIMEOUT_S = 15.0
"""Loading the driver takes seconds per GPU where it is unloaded between uses."""

_WORD_BITS = 8 * struct.calcsize("L")
_AFFINITY_WORDS = 1024 // _WORD_BITS
"""NVML's masks of CPUs are unsigned longs; 1,024 CPUs are more than a machine has."""

T = TypeVar("T")


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
        slice: handle of the slice that this process computes on, if that is known.
    """

    index: int
    handle: Any
    is_sliced: bool
    slice: Any = None


@dataclass(frozen=True)
class _Gpu:
    """One GPU of the machine, with the slices that it is divided into by their identity."""

    index: int
    handle: Any
    uuid: str
    is_sliced: bool
    slices: Mapping[str, Any]

    def device(self, name: str | None) -> Device | None:
        """Return what a name in CUDA_VISIBLE_DEVICES means here, or None for another GPU's.

        Args:
            name: a number, or the beginning of an identity ("GPU-..." or "MIG-..."); None is what
                CUDA shows without the variable.
        """
        if name is not None and name.startswith("MIG-"):
            for uuid, handle in self.slices.items():
                # Drivers before 470 wrote MIG-<identity of the GPU>/<instance>/<instance>.
                if uuid.startswith(name) or name.startswith(f"MIG-{self.uuid}/"):
                    return Device(self.index, self.handle, True, handle)
            return None
        if (
            name is None
            or name == str(self.index)
            or (name.startswith("GPU-") and self.uuid.startswith(name))
        ):
            # CUDA computes on the first slice only.
            first = next(iter(self.slices.values()), None)
            return Device(self.index, self.handle, self.is_sliced, first)
        return None


def visible_name(number: int) -> str:
    """Return the name in CUDA_VISIBLE_DEVICES that shows a process one GPU of those that we see.

    Args:
        number: CUDA's number of the GPU in this process.
    """
    names = _visible_names()
    return str(number) if names is None else names[number]


def _visible_names() -> list[str] | None:
    """Return the names in CUDA_VISIBLE_DEVICES, or None where it is not set."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if names is None else [*filter(None, map(str.strip, names.split(",")))]


def number_gpus_as_nvml() -> None:
    """Let CUDA number GPUs in the order of the bus, as NVML does; call it before CUDA starts.

    Otherwise CUDA's number 0 is the fastest GPU, and numbers in CUDA_VISIBLE_DEVICES mean others to
    CUDA than to what watches the GPUs. A value that the environment already has is kept.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def observe_gpus() -> tuple[ObservedGpu, ...]:
    """Return the visible GPUs; empty without a driver, or where it fails or hangs."""
    number_gpus_as_nvml()
    return tuple(_in_time(_observed))


def cpus_near_gpus() -> set[int]:
    """Return the CPUs on the NUMA nodes of the visible GPUs; empty where that is not known."""
    return set(_in_time(_near))


def _in_time(ask: Callable[[], Iterable[T]]) -> list[T]:
    """Return what NVML answers; nothing if it hangs, which must not stop the program."""
    answer: list[T] = []
    thread = Thread(target=lambda: answer.extend(ask()), name="nvml", daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    return answer


def require_gpus(profile: HardwareProfile, root: Path = Path("/")) -> None:
    """Refuse to compute for a profile with GPUs where PyTorch has none to compute on.

    Without this check a worker would compute on its CPU until the deadline.

    Args:
        profile: the hardware profile.
        root: root of the file system.

    Raises:
        EnvironmentFault: fewer GPUs than the profile has; the message says what was looked for.
    """
    if not profile.gpus:
        return
    import torch

    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if usable >= profile.gpus:
        return
    driver = "usr/local/nvidia/lib64"
    looked_for = (
        f"NVML ({nvml_fault() or 'answers'})",
        f"PyTorch for CUDA {torch.version.cuda or 'none: a build for processors'}",
        f"CUDA_VISIBLE_DEVICES ({os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')})",
        f"/dev/nvidia0 ({'there' if (root / 'dev/nvidia0').exists() else 'absent'})",
        f"/{driver}, where GKE mounts the driver "
        f"({'there' if (root / driver).exists() else 'absent'})",
        f"LD_LIBRARY_PATH ({os.environ.get('LD_LIBRARY_PATH', 'not set')})",
    )
    raise EnvironmentFault(
        f"{profile.name} has {profile.gpus} GPU{'s' * (profile.gpus > 1)}, and this worker can use "
        f"{usable}. Looked for: {', '.join(looked_for)}. Does the pod request nvidia.com/gpu, and "
        "does its image belong to the GPU (k8s/images)?"
    )


def nvml_fault() -> str | None:
    """Return why NVML does not answer, or None if it does."""
    import pynvml

    try:
        pynvml.nvmlInit()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return str(error)
    return None


def visible_devices(nvml: Any) -> tuple[list[Device], list[str]]:
    """Return the GPUs that this process may use, and the faults of those that do not answer.

    Args:
        nvml: the module `pynvml` of nvidia-ml-py after its `nvmlInit`, or a fake.
    """
    gpus, faults = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError as error:
            # Lost, or another user's; it need not concern this process.
            faults.append(f"GPU {index}: {error}")
            continue
        sliced = _is_sliced(nvml, handle)
        gpus.append(_Gpu(index, handle, uuid, sliced, _slices(nvml, handle) if sliced else {}))
    names = _visible_names()
    if names is None:
        return [device for gpu in gpus if (device := gpu.device(None))], faults
    devices: list[Device] = []
    for name in names:
        meant = next((device for gpu in gpus if (device := gpu.device(name))), None)
        if meant is None and not (name.isdigit() and faults):
            break  # CUDA shows only the devices before a name that it does not know
        if meant is not None:
            devices.append(meant)
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
                    memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(
                        device.handle if device.slice is None else device.slice
                    ).total,
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


def _near() -> set[int]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return set()
    cpus: set[int] = set()
    try:
        for device in visible_devices(pynvml)[0]:
            masks = pynvml.nvmlDeviceGetCpuAffinity(device.handle, _AFFINITY_WORDS)
            for word, mask in enumerate(masks):
                cpus |= {word * _WORD_BITS + bit for bit in range(_WORD_BITS) if mask >> bit & 1}
    except pynvml.NVMLError:
        return set()
    finally:
        pynvml.nvmlShutdown()
    return cpus


def _is_sliced(nvml: Any, handle: Any) -> bool:
    try:
        now, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # no such thing before the A100
    return bool(now)


def _slices(nvml: Any, handle: Any) -> dict[str, Any]:
    """Return a GPU's slices by their identity, as far as this process may see them."""
    slices = {}
    try:
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                each = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            except nvml.NVMLError:
                continue  # numbers have gaps
            slices[nvml.nvmlDeviceGetUUID(each)] = each
    except nvml.NVMLError:
        pass
    return slices
