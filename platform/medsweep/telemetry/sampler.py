"""Read the sensors every half second from a thread, and measure what that costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from medsweep.hardware.cgroup import ROOT
from medsweep.telemetry.gpu import Gpus, open_gpus
from medsweep.telemetry.host import Host
from medsweep.telemetry.recording import Recording, Sample
from medsweep.telemetry.step_times import STEP_TIMES

PERIOD_S = 0.5
"""NVML's own figures are means over 1/6 s to 1 s, so more frequent samples show nothing new."""


class Sampler:
    """Reads the sensors from `start` to `stop`; is used once.

    Args:
        pids: processes of this machine to watch, by name; only "engine" has columns.
        period_s: seconds from one sample to the next.
        gpus: the GPUs, or why there are none to read; None opens NVML.
    """

    def __init__(
        self,
        pids: Mapping[str, int],
        *,
        period_s: float = PERIOD_S,
        gpus: Gpus | str | None = None,
    ) -> None:
        self._period_s = period_s
        self._host = Host(pids, ROOT)
        self._gpus = open_gpus() if gpus is None else gpus
        self._samples: list[Sample] = []
        self._cost_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Take the first sample, and further ones in a thread."""
        self._sample()
        self._thread.start()

    def stop(self) -> Recording:
        """Take the last sample and return them all."""
        self._stop.set()
        self._thread.join()
        self._sample()
        if isinstance(self._gpus, Gpus):
            self._gpus.close()
        return Recording(tuple(self._samples), self._cost_s)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._sample()

    def _sample(self) -> None:
        start_s = time.thread_time()
        sample = Sample(time.time())
        self._host.read(sample)
        sample.counters |= STEP_TIMES.counters()
        if isinstance(self._gpus, Gpus):
            self._gpus.read(sample)
        else:
            sample.missing["gpu"] = self._gpus
        self._samples.append(sample)
        self._cost_s += time.thread_time() - start_s
