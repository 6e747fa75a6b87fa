"""When each request of an open loop is due, and which prompt each request carries."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from medsweep.errors import InputError
from medsweep.loadgen.spec import LoadPoint, Prompt

_BLOCK = 1024

Gaps = Callable[[np.random.Generator], npt.NDArray[np.float64]]


def due_times(point: LoadPoint, seed: int) -> Iterator[float]:
    """Yield when each request is due, without end unless it is a replay.

    Args:
        point: an open-loop load point.
        seed: of the random gaps; the other arrivals do not use it.

    Yields:
        Ascending times in seconds from the start. Constant arrivals are `k / rate` from k = 0,
        computed and not added up, so that they do not drift. Poisson arrivals have independent
        exponential gaps of mean `1 / rate`, gamma arrivals gamma-distributed ones of the same
        mean. Of bursts, the first is due at 0 and each brings `shape` requests.

    Raises:
        InputError: the point is a closed loop, where nothing is due.
    """
    if point.due_s is not None:
        yield from point.due_s
        return
    if point.rate is None:
        raise InputError(f"load point {point.name} is a closed loop and has no due times")
    rate = point.rate
    if point.arrivals == "constant":
        yield from (k / rate for k in itertools.count())
    elif point.arrivals == "burst":
        size = point.together
        yield from (k // size * size / rate for k in itertools.count())
    elif point.arrivals == "gamma":
        shape = point.arrival_shape or 1.0
        yield from _summed(lambda rng: rng.gamma(shape, 1 / (rate * shape), _BLOCK), seed)
    else:
        yield from _summed(lambda rng: rng.exponential(1 / rate, _BLOCK), seed)


def _summed(gaps: Gaps, seed: int) -> Iterator[float]:
    # Not the stream that shuffles the prompts: which prompt comes must say nothing of its gap.
    rng, at_s = np.random.default_rng([seed, 1]), 0.0
    while True:
        times = at_s + np.cumsum(gaps(rng))
        yield from times.tolist()
        at_s = float(times[-1])


def prompt_order(prompts: Sequence[Prompt], warmup: int, seed: int) -> Iterator[Prompt]:
    """Yield prompts without end, every pass over them in a fresh shuffled order.

    Args:
        prompts: what to send; at least one.
        warmup: requests before the measured ones. The first measured request begins a new pass,
            so that the measured ones cover the prompts evenly.
        seed: of the shuffles.
    """
    rng = np.random.default_rng(seed)
    yield from itertools.islice(_passes(prompts, rng), warmup)
    yield from _passes(prompts, rng)


def _passes(prompts: Sequence[Prompt], rng: np.random.Generator) -> Iterator[Prompt]:
    while True:
        for place in rng.permutation(len(prompts)):
            yield prompts[place]
