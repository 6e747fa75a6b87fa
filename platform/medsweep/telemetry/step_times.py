"""What an engine's thread does in decoding on a GPU: it launches kernels and waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter


@dataclass
class StepTimes:
    """Time in the decoding steps of this process; a thread writes it, the sampler's reads it.

    Attributes:
        launch_s: time in which kernels or graphs were launched, in seconds.
        wait_s: time in which the thread then waited for the GPU, in seconds.
        steps: steps that were launched.
    """

    launch_s: float = 0.0
    wait_s: float = 0.0
    steps: int = 0

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Time the launch of one step."""
        started = perf_counter()
        yield
        self.launch_s += perf_counter() - started
        self.steps += 1

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time a wait for the GPU."""
        started = perf_counter()
        yield
        self.wait_s += perf_counter() - started

    def counters(self) -> dict[str, float]:
        """Return them as counters of a sample; empty where nothing was launched on a GPU."""
        if not self.steps:
            return {}
        return {
            "engine_launch_s": self.launch_s,
            "engine_wait_s": self.wait_s,
            "engine_steps": float(self.steps),
        }


STEP_TIMES = StepTimes()
"""Of this process, whose engine has one thread."""
