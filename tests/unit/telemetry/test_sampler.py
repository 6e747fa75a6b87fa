import os
import pickle
import threading

from medsweep.hardware.fake_nvml import FakeGpu, FakeNvml
from medsweep.telemetry.gpu import Gpus
from medsweep.telemetry.recording import Recording
from medsweep.telemetry.sampler import Sampler


class Counting(FakeNvml):
    """Says when it has been read three times."""

    def __init__(self) -> None:
        super().__init__([FakeGpu(uuid="GPU-a", utilisation_percent=50)])
        self.reads = 0
        self.enough = threading.Event()

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        self.reads += 1
        if self.reads >= 3:
            self.enough.set()
        return super().nvmlDeviceGetPowerUsage(gpu)


def test_samples_are_taken_at_both_ends_and_between() -> None:
    nvml = Counting()
    sampler = Sampler({"engine": os.getpid()}, period_s=0.01, gpus=Gpus(nvml))
    sampler.start()
    assert nvml.enough.wait(30)
    recording = sampler.stop()
    assert len(recording.samples) >= 4
    times = [sample.at_s for sample in recording.samples]
    assert times == sorted(times)
    assert recording.cost_s > 0
    assert recording.cpu_share is not None
    assert 0 < recording.cpu_share < 1
    assert not nvml.is_open
    assert "telemetry" not in {thread.name for thread in threading.enumerate()}
    assert pickle.loads(pickle.dumps(recording)) == recording


def test_without_a_gpu_every_sample_says_why() -> None:
    sampler = Sampler({}, period_s=60, gpus="no driver")
    sampler.start()
    recording = sampler.stop()
    assert len(recording.samples) == 2
    assert {sample.missing["gpu"] for sample in recording.samples} == {"no driver"}


def test_no_time_at_all_has_no_share() -> None:
    sampler = Sampler({}, period_s=60, gpus="no driver")
    sampler.start()
    first = sampler.stop().samples[0]
    assert Recording((first, first), 0.1).cpu_share is None
