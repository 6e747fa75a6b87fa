"""Look at the machine every half second from a thread, and count what looking costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsweep.hardware.cgroup import ROOT
from medsweep.telemetry.gpu import Gpus, open_gpus
from medsweep.telemetry.host import Host
from medsweep.telemetry.sample import Sample

PERIOD_S = 0.5
"""NVML's own figures are means over 1/6 s to 1 s, so looking more often shows nothing new."""


@dataclass(frozen=True)
class Recording:
    """What was sampled; can be sent to another machine.

    Attributes:
        samples: in order of time, one at the start and one at the end among them.
        cost_s: CPU time that sampling took, in seconds.
    """

    samples: tuple[Sample, ...]
    cost_s: float

    @property
    def cpu_share(self) -> float | None:
        """CPU time that sampling took, as a share of one core; None for no time at all."""
        span_s = self.samples[-1].at_s - self.samples[0].at_s
        return self.cost_s / span_s if span_s else None


class Sampler:
    """Samples from `start` to `stop`; used once.

    Args:
        pids: processes of this machine to watch, by name; "engine" is what has columns.
        period_s: seconds from one sample to the next.
        root: root of the file system; tests lay out their own.
        gpus: what to read of the GPUs, or why there is nothing; None opens NVML.
    """

    def __init__(
        self,
        pids: Mapping[str, int],
        *,
        period_s: float = PERIOD_S,
        root: Path = ROOT,
        gpus: Gpus | str | None = None,
    ) -> None:
        self._period_s = period_s
        self._host = Host(pids, root)
        self._gpus = open_gpus() if gpus is None else gpus
        self._samples: list[Sample] = []
        self._cost_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Take the first sample and go on in a thread."""
        self._look()
        self._thread.start()

    def stop(self) -> Recording:
        """Take the last sample and return them all."""
        self._stop.set()
        self._thread.join()
        self._look()
        if isinstance(self._gpus, Gpus):
            self._gpus.close()
        return Recording(tuple(self._samples), self._cost_s)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._look()

    def _look(self) -> None:
        start_s = time.thread_time()
        sample = Sample(time.time())
        self._host.read(sample)
        if isinstance(self._gpus, Gpus):
            self._gpus.read(sample)
        else:
            sample.missing["gpu"] = self._gpus
        self._samples.append(sample)
        self._cost_s += time.thread_time() - start_s
