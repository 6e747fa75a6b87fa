"""A fake of NVML that returns given values, in NVML's own units, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeVar

from medsweep.hardware.profile import GIB

T = TypeVar("T")

NVML_CLOCK_SM = 1


class NvmlRefusal(Exception):
    """Raised in place of `pynvml.NVMLError`."""


@dataclass
class FakeGpu:
    """One GPU; None is not supported.

    Attributes:
        uuid: as NVML gives it.
        name: product name.
        memory_bytes: total memory.
        compute_capability: major and minor.
        utilisation_percent: share of time in which a kernel ran.
        memory_percent: share of time in which memory was read or written.
        memory_used_bytes: memory in use.
        power_mw: power drawn, in milliwatts.
        energy_mj: energy since the driver was loaded, in millijoules.
        clock_mhz: clock of the multiprocessors.
        max_clock_mhz: its maximum.
        throttle_mask: bits of the reasons why clocks are throttled.
        mig: whether the GPU is divided into slices.
        slices: its slices, which are handles of their own; None is a gap in their numbers.
        near: CPUs of its NUMA node.
        lost: whether the driver can no longer reach it.
    """

    uuid: str = "GPU-fake"
    name: str = "Fake GPU"
    memory_bytes: int = 16 * GIB
    compute_capability: tuple[int, int] | None = (7, 0)
    utilisation_percent: int | None = 0
    memory_percent: int = 0
    memory_used_bytes: int | None = 0
    power_mw: int | None = 0
    energy_mj: int | None = 0
    clock_mhz: int | None = 1000
    max_clock_mhz: int | None = 1000
    throttle_mask: int | None = 0
    mig: bool | None = None
    slices: Sequence[FakeGpu | None] = ()
    near: Sequence[int] | None = None
    lost: bool = False


class FakeNvml:
    """Has the functions of `pynvml` that are used here.

    Args:
        gpus: may be changed between two readings.
    """

    NVMLError = NvmlRefusal
    NVML_CLOCK_SM = NVML_CLOCK_SM
    driver = "570.86.15"
    cuda = 12080

    def __init__(self, gpus: Sequence[FakeGpu]) -> None:
        self.gpus = gpus
        self.is_open = False

    def nvmlInit(self) -> None:  # noqa: N802 NVML's own names, here and below
        """Open the driver."""
        self.is_open = True

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Close the driver."""
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return how many GPUs there are."""
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        """Return a GPU."""
        if self.gpus[index].lost:
            raise NvmlRefusal("GPU is lost")
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        """Return its identity."""
        return gpu.uuid

    def nvmlDeviceGetCpuAffinity(self, gpu: FakeGpu, words: int) -> list[int]:  # noqa: N802
        """Return a mask of the CPUs near it, in words of 64 bits."""
        mask = sum(1 << cpu for cpu in _known(gpu.near))
        return [mask >> (64 * word) & (2**64 - 1) for word in range(words)]

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        """Return whether it is divided into slices, and whether it will be."""
        return [int(_known(gpu.mig))] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: FakeGpu) -> int:  # noqa: N802
        """Return how many slices it may have."""
        return len(gpu.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(  # noqa: N802
        self, gpu: FakeGpu, index: int
    ) -> FakeGpu:
        """Return a slice."""
        return _known(gpu.slices[index])

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> SimpleNamespace:  # noqa: N802
        """Return percents."""
        return SimpleNamespace(gpu=_known(gpu.utilisation_percent), memory=gpu.memory_percent)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> SimpleNamespace:  # noqa: N802
        """Return bytes."""
        return SimpleNamespace(used=_known(gpu.memory_used_bytes), total=gpu.memory_bytes)

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:  # noqa: N802
        """Return its product name."""
        return gpu.name

    def nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        """Return major and minor."""
        return list(_known(gpu.compute_capability))

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        """Return the driver's version."""
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        """Return 1000 times the major and 10 times the minor version."""
        return self.cuda

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        """Return milliwatts."""
        return _known(gpu.power_mw)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        """Return millijoules."""
        return _known(gpu.energy_mj)

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, _kind: int) -> int:  # noqa: N802
        """Return megahertz."""
        return _known(gpu.clock_mhz)

    def nvmlDeviceGetMaxClockInfo(self, gpu: FakeGpu, _kind: int) -> int:  # noqa: N802
        """Return megahertz."""
        return _known(gpu.max_clock_mhz)

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        """Return the bits of the reasons."""
        return _known(gpu.throttle_mask)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        """Return the same, by the name of older drivers."""
        return _known(gpu.throttle_mask)


def _known(value: T | None) -> T:
    if value is None:
        raise NvmlRefusal("Not Supported")
    return value
