"""What this machine's processor sustains, measured in about a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

from medsweep.prediction.roofline import LAUNCH_S, Machine

_MATRIX = 1024
_LARGE_MATRIX = 8192
"""In float32 256 MiB: several times any cache, so that memory is what is measured."""

_TRIES = 5


@cache
def measured_machine() -> Machine:
    """Return what the cores that this process may use sustain, the best of five tries.

    A float32 matrix times a vector reads every value once, as decoding does; times a matrix it
    computes, as training and prompts do.
    """
    import numpy as np

    large = np.ones((_LARGE_MATRIX, _LARGE_MATRIX), dtype=np.float32)
    square = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    reading_s = _best(lambda: large @ large[0])
    computing_s = _best(lambda: square @ square)
    return Machine(
        bytes_per_s=large.nbytes / reading_s,
        flops=2 * _MATRIX**3 / computing_s,
        launch_s=LAUNCH_S,
        overlaps=False,
    )


def _best(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest try."""
    tries = []
    for _ in range(_TRIES):
        started = time.perf_counter()
        work()
        tries.append(time.perf_counter() - started)
    return min(tries)
