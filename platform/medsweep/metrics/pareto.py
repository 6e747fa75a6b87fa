"""The Pareto front: what nothing else beats in every respect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def pareto_front(items: Iterable[T], gains: Callable[[T], Sequence[float]]) -> list[T]:
    """Return the items that no other item equals or exceeds in every respect, in order.

    Items with the same gains do not beat each other.

    Args:
        items: what to choose from.
        gains: figures of an item, of each of which more is better.
    """
    scored = [(item, tuple(gains(item))) for item in items]
    return [
        item
        for item, own in scored
        if not any(
            other != own and all(theirs >= ours for theirs, ours in zip(other, own, strict=True))
            for _, other in scored
        )
    ]
