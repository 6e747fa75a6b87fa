"""Which prompt goes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from medsweep.loadgen.spec import Prompt


def prompt_order(prompts: Sequence[Prompt], warmup: int, seed: int) -> Iterator[Prompt]:
    """Yield prompts without end, every pass over them in a fresh shuffled order.

    Args:
        prompts: what to send; at least one.
        warmup: requests before the measured ones. The first measured request begins a new pass,
            so that the measured ones cover the prompts evenly.
        seed: of the shuffles.
    """
    rng = np.random.default_rng(seed)
    yield from islice(_passes(prompts, rng), warmup)
    yield from _passes(prompts, rng)


def _passes(prompts: Sequence[Prompt], rng: np.random.Generator) -> Iterator[Prompt]:
    while True:
        for place in rng.permutation(len(prompts)):
            yield prompts[place]
