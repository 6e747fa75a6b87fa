"""NVML's metrics of the GPUs that this process may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from medsweep.hardware.nvidia import visible_devices
from medsweep.telemetry.recording import Sample

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h, "Clocks Event Reasons"). Idle clocks and
# clocks set by a user do not count as throttling.
THROTTLE_REASONS = {
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x020: "software thermal",
    0x040: "hardware thermal",
    0x080: "power brake",
}


@dataclass(frozen=True)
class GpuMetric:
    """One metric of a GPU.

    Attributes:
        read: takes NVML and the GPU's handle; returns the value.
        total: whether the values of several GPUs are added; otherwise they are averaged.
        counter: whether only differences of the value are meaningful.
    """

    read: Callable[[Any, Any], float]
    total: bool = False
    counter: bool = False


GPU_METRICS: dict[str, GpuMetric] = {
    "gpu_utilisation": GpuMetric(
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100
    ),
    "gpu_memory_utilisation": GpuMetric(
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).memory / 100
    ),
    "gpu_memory_used_bytes": GpuMetric(
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used, total=True
    ),
    "gpu_power_w": GpuMetric(lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3, total=True),
    "gpu_energy_j": GpuMetric(  # Volta and later
        lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3,
        total=True,
        counter=True,
    ),
    "gpu_sm_clock_hz": GpuMetric(
        lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6
    ),
    "gpu_sm_clock_max_hz": GpuMetric(
        lambda nvml, gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6
    ),
}
"""The names carry the units; NVML uses percent, bytes, milliwatts, millijoules and megahertz."""


class Gpus:
    """The visible GPUs, read as one.

    Args:
        nvml: the module `pynvml` of nvidia-ml-py, or a fake of it.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._unsupported: dict[str, str] = {}
        nvml.nvmlInit()
        try:
            devices, faults = visible_devices(nvml)
        except nvml.NVMLError:
            nvml.nvmlShutdown()
            raise
        self._gpus = [device.handle for device in devices if not device.is_sliced]
        faults += [
            f"GPU {device.index} is divided into slices (MIG): NVML measures all of it"
            for device in devices
            if device.is_sliced
        ]
        self._none = faults[-1] if faults else "NVML sees no GPU that this process may use"

    def close(self) -> None:
        """Shut NVML down."""
        self._nvml.nvmlShutdown()

    def read(self, sample: Sample) -> None:
        """Add the GPUs' metrics to a sample, without those that one of the GPUs lacks."""
        if not self._gpus:
            sample.missing["gpu"] = self._none
            return
        for name, metric in GPU_METRICS.items():
            values = self._try(name, partial(metric.read, self._nvml))
            if values:
                value = sum(values) if metric.total else sum(values) / len(values)
                (sample.counters if metric.counter else sample.gauges)[name] = float(value)
        masks = self._try("gpu_throttle_reasons", self._throttle_mask)
        if masks:
            sample.gauges["gpu_throttled"] = float(any(mask & _ANY for mask in masks))
            sample.reasons |= {
                words for bit, words in THROTTLE_REASONS.items() for mask in masks if mask & bit
            }
        sample.missing |= self._unsupported

    def _throttle_mask(self, gpu: Any) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu))
        except self._nvml.NVMLError:
            # Drivers before 535 use an older name.
            return int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))

    def _try(self, name: str, read: Callable[[Any], Any]) -> Sequence[Any]:
        """Read a metric of all GPUs; empty, and not tried again, if one GPU lacks it."""
        if name in self._unsupported:
            return []
        try:
            return [read(gpu) for gpu in self._gpus]
        except self._nvml.NVMLError as error:
            self._unsupported[name] = str(error)
            return []


_ANY = sum(THROTTLE_REASONS)


def open_gpus() -> Gpus | str:
    """Return the GPUs, or the reason why none can be read."""
    import pynvml

    try:
        return Gpus(pynvml)
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
