"""When an open loop sends: evenly, or as a Poisson process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medsweep.errors import InputError
from medsweep.loadgen.spec import LoadPoint


def due_times(point: LoadPoint, count: int, seed: int) -> npt.NDArray[np.float64]:
    """Return when each request is due.

    Args:
        point: an open-loop load point.
        count: how many requests.
        seed: of the Poisson gaps; evenly spaced arrivals do not use it.

    Returns:
        `count` ascending times in seconds from the start. Constant arrivals are `k / rate` from
        k = 0; Poisson arrivals have independent exponential gaps of mean `1 / rate`. A longer
        series begins with the shorter one of the same seed.

    Raises:
        InputError: the point is a closed loop, where nothing is due.
    """
    if point.rate is None:
        raise InputError(f"load point {point.name} is a closed loop and has no due times")
    if point.arrivals == "constant":
        return np.arange(count, dtype=np.float64) / point.rate
    return np.cumsum(np.random.default_rng(seed).exponential(1 / point.rate, count))
