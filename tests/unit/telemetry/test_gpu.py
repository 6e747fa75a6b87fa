from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from medsweep.hardware.fake_nvml import FakeGpu, FakeNvml
from medsweep.telemetry.gpu import GPU_METRICS, Gpus, open_gpus
from medsweep.telemetry.recording import Sample

BUSY = FakeGpu(
    uuid="GPU-a",
    utilisation_percent=90,
    memory_percent=40,
    memory_used_bytes=8 * 2**30,
    power_mw=250_000,
    energy_mj=7_000_000,
    clock_mhz=1410,
    max_clock_mhz=1410,
    throttle_mask=0x4 | 0x20,
)
IDLE = FakeGpu(uuid="GPU-b", utilisation_percent=10, power_mw=50_000, throttle_mask=0x1)


def read(*gpus: FakeGpu) -> Sample:
    sample = Sample(0.0)
    Gpus(FakeNvml(gpus)).read(sample)
    return sample


@pytest.fixture(autouse=True)
def every_gpu_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_units_are_si() -> None:
    sample = read(BUSY)
    assert sample.gauges == pytest.approx(
        {
            "gpu_utilisation": 0.9,
            "gpu_memory_utilisation": 0.4,
            "gpu_memory_used_bytes": 8 * 2**30,
            "gpu_power_w": 250.0,
            "gpu_sm_clock_hz": 1.41e9,
            "gpu_sm_clock_max_hz": 1.41e9,
            "gpu_throttled": 1.0,
        }
    )
    assert sample.counters == {"gpu_energy_j": 7000.0}
    assert sample.reasons == {"power cap", "software thermal"}
    assert sample.missing == {}


def test_several_gpus_are_added_or_averaged() -> None:
    sample = read(BUSY, IDLE)
    assert sample.gauges["gpu_utilisation"] == pytest.approx(0.5)
    assert sample.gauges["gpu_power_w"] == pytest.approx(300.0)
    assert sample.gauges["gpu_throttled"] == 1.0


def test_idle_clocks_are_not_throttled() -> None:
    assert read(IDLE).gauges["gpu_throttled"] == 0.0
    assert read(IDLE).reasons == set()


def test_what_a_gpu_does_not_support_is_missing_with_nvml_s_reason() -> None:
    sample = read(BUSY, FakeGpu(power_mw=None, energy_mj=None, throttle_mask=None))
    assert set(GPU_METRICS) - set(sample.gauges) - set(sample.counters) == {
        "gpu_power_w",
        "gpu_energy_j",
    }
    assert sample.missing == dict.fromkeys(
        ("gpu_power_w", "gpu_energy_j", "gpu_throttle_reasons"), "Not Supported"
    )


def test_hidden_gpus_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert read(BUSY, IDLE).gauges["gpu_power_w"] == pytest.approx(50.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert read(BUSY).missing == {"gpu": "NVML sees no GPU that this process may use"}


def test_older_drivers_name_throttle_reasons_otherwise() -> None:
    class Older(FakeNvml):
        def nvmlDeviceGetCurrentClocksEventReasons(self, _: FakeGpu) -> int:  # noqa: N802
            raise self.NVMLError("Function Not Found")

    sample = Sample(0.0)
    Gpus(Older([BUSY])).read(sample)
    assert sample.reasons == {"power cap", "software thermal"}


def test_a_sliced_gpu_is_not_measured_for_its_slice() -> None:
    """Power, energy and memory of the whole would be put down to one slice of it."""
    sample = read(replace(BUSY, mig=True))
    assert (sample.gauges, sample.counters) == ({}, {})
    assert sample.missing == {"gpu": "GPU 0 is divided into slices (MIG): NVML measures all of it"}
    assert read(replace(BUSY, mig=False)).gauges["gpu_utilisation"] == 0.9


def test_a_lost_gpu_does_not_hide_the_others() -> None:
    assert read(replace(BUSY, lost=True), IDLE).gauges["gpu_power_w"] == pytest.approx(50.0)
    assert read(replace(BUSY, lost=True)).missing == {"gpu": "GPU 0: GPU is lost"}


def test_without_the_driver_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(ModuleType):
        NVMLError = FakeNvml.NVMLError

        def nvmlInit(self) -> None:  # noqa: N802
            raise self.NVMLError("Driver Not Loaded")

    monkeypatch.setitem(sys.modules, "pynvml", Broken("pynvml"))
    assert open_gpus() == "NVML: Driver Not Loaded"


def test_the_fake_has_what_is_asked_of_the_real_one() -> None:
    import pynvml

    names = [name for name in dir(FakeNvml) if name.startswith(("nvml", "NVML"))]
    assert len(names) > 10
    assert [name for name in names if not hasattr(pynvml, name)] == []
    assert pynvml.NVML_CLOCK_SM == FakeNvml.NVML_CLOCK_SM
    for bit, name in (
        (0x004, "SwPowerCap"),
        (0x008, "HwSlowdown"),
        (0x020, "SwThermalSlowdown"),
        (0x040, "HwThermalSlowdown"),
        (0x080, "HwPowerBrakeSlowdown"),
    ):
        assert getattr(pynvml, f"nvmlClocksEventReason{name}") == bit
