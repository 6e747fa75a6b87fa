import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.errors import EnvironmentFault
from medsweep.hardware import nvidia
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.fake_nvml import FakeGpu, FakeNvml
from medsweep.hardware.nvidia import ObservedGpu, cpus_near_gpus, observe_gpus, require_gpus
from medsweep.hardware.profile import HardwareProfile

V100 = FakeGpu("GPU-aa11", "Tesla V100-SXM2-16GB", 16 * 2**30, (7, 0))
A100 = FakeGpu("GPU-bb22", "NVIDIA A100-SXM4-40GB", 40 * 2**30, (8, 0), mig=True)


Driver = Callable[..., FakeNvml]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Put a fake in the place of the driver."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*gpus: FakeGpu, kind: type[FakeNvml] = FakeNvml) -> FakeNvml:
        nvml = kind(gpus)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return nvml

    return install


def test_gpus_are_observed_and_a_slice_is_marked(driver: Driver) -> None:
    nvml = driver(V100, A100)
    assert observe_gpus() == (
        ObservedGpu("Tesla V100-SXM2-16GB", "570.86.15", "12.8", 16 * 2**30, (7, 0)),
        ObservedGpu("NVIDIA A100-SXM4-40GB (MIG)", "570.86.15", "12.8", 40 * 2**30, (8, 0)),
    )
    assert not nvml.is_open


@pytest.mark.parametrize(
    ("visible", "count"), [("0", 1), ("1,0", 2), ("GPU-bb22", 1), ("", 0), ("-1", 0), ("10", 0)]
)
def test_hidden_gpus_are_left_out(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str, count: int
) -> None:
    driver(V100, A100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(observe_gpus()) == count


def test_cpus_near_a_gpu_are_those_of_the_visible_ones(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(replace(V100, near=[0, 1, 63]), replace(A100, near=[64, 130]))
    assert cpus_near_gpus() == {0, 1, 63, 64, 130}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert cpus_near_gpus() == {64, 130}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert cpus_near_gpus() == set()


def test_without_an_answer_no_cpus_are_near(driver: Driver) -> None:
    driver(V100)  # does not support the question
    assert cpus_near_gpus() == set()


SLICES = (
    FakeGpu("MIG-11aa", memory_bytes=5 * 2**30),
    None,
    FakeGpu("MIG-22bb", memory_bytes=20 * 2**30),
)


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        ("MIG-22bb", [20]),
        ("MIG-22", [20]),
        ("MIG-11aa,MIG-22bb", [5, 20]),
        ("MIG-GPU-cc33/1/0", [5]),
        ("MIG-99", []),
        ("1", [5]),  # CUDA computes on the first slice
        ("0", [16]),
        ("1,0", [5, 16]),
        (None, [16, 5]),
        ("0,GPU-unknown,1", [16]),  # CUDA shows none from the unknown name on
        ("0,-1,1", [16]),
    ],
)
def test_devices_are_those_that_cuda_shows(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, visible: str | None, gib: list[int]
) -> None:
    sliced = FakeGpu("GPU-cc33", A100.name, 40 * 2**30, (8, 0), mig=True, slices=SLICES)
    driver(V100, sliced)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.memory_bytes // 2**30 for gpu in observe_gpus()] == gib


@pytest.mark.parametrize(("before", "after"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST",) * 2])
def test_cuda_numbers_gpus_as_nvml_does_unless_it_was_told_otherwise(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", before or "")
    if before is None:
        monkeypatch.delenv("CUDA_DEVICE_ORDER")
    driver(V100)
    observe_gpus()
    assert os.environ["CUDA_DEVICE_ORDER"] == after


@pytest.mark.parametrize(
    "gpu", [FakeGpu(lost=True), FakeGpu(compute_capability=None), FakeGpu(memory_used_bytes=None)]
)
def test_a_gpu_that_does_not_answer_is_no_gpu(driver: Driver, gpu: FakeGpu) -> None:
    driver(gpu, V100)
    assert [seen.name for seen in observe_gpus()] == [V100.name]


def test_no_gpu_is_no_gpu(driver: Driver) -> None:
    driver()
    assert observe_gpus() == ()


class Failing(FakeNvml):
    """A driver that stops answering."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        raise self.NVMLError("Unknown Error")


class Absent(FakeNvml):
    """No driver at all."""

    def nvmlInit(self) -> None:  # noqa: N802
        raise self.NVMLError("NVML Shared Library Not Found")


@pytest.mark.parametrize("kind", [Failing, Absent])
def test_a_failing_driver_is_no_gpu(driver: Driver, kind: type[FakeNvml]) -> None:
    nvml = driver(V100, kind=kind)
    assert observe_gpus() == ()
    assert not nvml.is_open


def test_a_hanging_driver_is_no_gpu(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Hanging(FakeNvml):
        def nvmlInit(self) -> Any:  # noqa: N802
            released.wait()

    driver(V100, kind=Hanging)
    monkeypatch.setattr(nvidia, "_TIMEOUT_S", 0.1)
    assert observe_gpus() == ()
    released.set()


def test_a_worker_without_a_gpu_says_what_it_looked_for(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver(V100, kind=Absent)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    require_gpus(HardwareProfile("laptop", 2, 0, None, 2**30), tmp_path)
    with pytest.raises(EnvironmentFault) as fault:
        require_gpus(PROFILES["2xv100-4cpu"], tmp_path)
    for said in (
        "2xv100-4cpu has 2 GPUs, and this worker can use 0",
        "NVML (NVML Shared Library Not Found)",
        "CUDA_VISIBLE_DEVICES (3)",
        "/dev/nvidia0 (there)",
        "mounts the driver (absent)",
        "nvidia.com/gpu",
    ):
        assert said in str(fault.value)


def test_a_worker_needs_as_many_gpus_as_its_profile_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    require_gpus(PROFILES["1xv100-1cpu"])
    with pytest.raises(EnvironmentFault, match="this worker can use 1"):
        require_gpus(PROFILES["2xv100-4cpu"])


def test_on_this_machine_the_real_binding_answers() -> None:
    assert isinstance(observe_gpus(), tuple)
