"""Figures that NVML gives of the GPUs that this process may use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from medsweep.hardware.nvidia import visible_devices
from medsweep.telemetry.recording import Sample

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h, "Clocks Event Reasons"). An idle GPU and
# clocks that a person set do not count as throttling.
THROTTLE_REASONS = {
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x020: "software thermal",
    0x040: "hardware thermal",
    0x080: "power brake",
}


@dataclass(frozen=True)
class Gauge:
    """One figure of a GPU.

    Attributes:
        read: takes NVML and the GPU, and returns the figure.
        total: whether the figures of several GPUs are added; otherwise they are averaged.
        counter: whether only its differences mean anything.
    """

    read: Callable[[Any, Any], float]
    total: bool = False
    counter: bool = False


GAUGES: dict[str, Gauge] = {
    "gpu_utilisation": Gauge(lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100),
    "gpu_memory_utilisation": Gauge(
        lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).memory / 100
    ),
    "gpu_memory_used_bytes": Gauge(
        lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used, total=True
    ),
    "gpu_power_w": Gauge(lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3, total=True),
    "gpu_energy_j": Gauge(  # Volta and later
        lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3,
        total=True,
        counter=True,
    ),
    "gpu_sm_clock_hz": Gauge(
        lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6
    ),
    "gpu_sm_clock_max_hz": Gauge(
        lambda nvml, gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6
    ),
}
"""Units are in the names; NVML's own are percent, bytes, milliwatts, millijoules and megahertz."""


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
        """Close the driver."""
        self._nvml.nvmlShutdown()

    def read(self, sample: Sample) -> None:
        """Add the GPUs' figures to a sample; a figure that one GPU does not support is left out."""
        if not self._gpus:
            sample.missing["gpu"] = self._none
            return
        for name, gauge in GAUGES.items():
            values = self._try(name, partial(gauge.read, self._nvml))
            if values:
                value = sum(values) if gauge.total else sum(values) / len(values)
                (sample.counters if gauge.counter else sample.gauges)[name] = float(value)
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
            # Drivers before 535 have it under an older name.
            return int(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))

    def _try(self, name: str, read: Callable[[Any], Any]) -> Sequence[Any]:
        """Read a figure of every GPU; empty, and never tried again, if one lacks it."""
        if name in self._unsupported:
            return []
        try:
            return [read(gpu) for gpu in self._gpus]
        except self._nvml.NVMLError as error:
            self._unsupported[name] = str(error)
            return []


_ANY = sum(THROTTLE_REASONS)


def open_gpus() -> Gpus | str:
    """Return the GPUs, or why none can be read."""
    import pynvml

    try:
        return Gpus(pynvml)
    except pynvml.NVMLError as error:
        return f"NVML: {error}"
