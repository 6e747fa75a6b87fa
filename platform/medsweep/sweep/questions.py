"""Which questions a repeat asks."""

from __future__ import annotations

import random
from collections.abc import Sequence

from medsweep.datasets.spec import Pair


def questions_of(pairs: Sequence[Pair], requests: int, repeat: int, seed: int) -> list[Pair]:
    """Return the questions of one repeat: each repeat goes on where the one before stopped.

    So the repeats of a load point cover as many questions as they have requests, on every profile
    the same ones, and few requests a repeat still make many pairs to compare.

    Args:
        pairs: the evaluation side.
        requests: that the repeat measures; with at least as many, every question is asked.
        repeat: counted from 1.
        seed: of the order.
    """
    order = list(pairs)
    random.Random(seed).shuffle(order)  # noqa: S311 an order, not a secret
    if requests >= len(order):
        return order
    start = (repeat - 1) * requests
    return [order[place % len(order)] for place in range(start, start + requests)]
