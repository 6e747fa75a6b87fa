"""The highest rate that meets an objective, by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable

# Doubling gives up above this rate.
_HIGHEST_RPS = 1e5


def find_max(
    meets: Callable[[float], bool | None],
    *,
    start_rps: float,
    lowest_rps: Callable[[], float],
    closeness: float = 0.05,
) -> tuple[float | None, float | None]:
    """Return the highest rate that meets the objective and the lowest that does not.

    Doubles the rate until it misses, or halves it until it meets, then bisects on a logarithmic
    scale, since a capacity may be anything from one request per minute to thousands per second.

    Args:
        meets: measures one rate, in requests per second, and returns whether the objective is met;
            None where that can no longer be measured, which ends the search.
        start_rps: the first rate to try.
        lowest_rps: the rate below which halving gives up; asked again after each measurement.
        closeness: ends when the two rates are within this ratio.

    Returns:
        Both rates in requests per second. None for the first: not even the lowest rate tried
        meets it. None for the second: the highest rate tried still does. They may lie
        further apart where the search was ended.
    """
    highest: float | None = None
    lowest_missed: float | None = None
    rate = start_rps
    while (highest is None or lowest_missed is None) and rate <= _HIGHEST_RPS:
        met = meets(rate)
        if met is None:
            return highest, lowest_missed
        if met:
            highest = rate
            rate *= 2
        else:
            lowest_missed = rate
            rate /= 2
            if rate < lowest_rps() and highest is None:
                return None, lowest_missed
    if highest is None or lowest_missed is None:
        return highest, lowest_missed
    while lowest_missed / highest > 1 + closeness:
        rate = math.sqrt(highest * lowest_missed)
        met = meets(rate)
        if met is None:
            break
        if met:
            highest = rate
        else:
            lowest_missed = rate
    return highest, lowest_missed
