"""Batches of texts by their tokens, which decide memory and time, not by their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def token_batches(
    items: Sequence[Item], length: Callable[[Item], int], tokens: int, most: int | None = None
) -> Iterator[list[Item]]:
    """Yield the items in groups of at most `tokens` tokens, padding included.

    Args:
        items: in the order that they are grouped in.
        length: returns the tokens of an item.
        tokens: most tokens in a group; a longer item is a group of its own.
        most: most items in a group; None sets no limit.
    """
    group: list[Item] = []
    longest = 0
    for item in items:
        longest = max(longest, length(item))
        if group and (longest * (len(group) + 1) > tokens or len(group) == most):
            yield group
            group, longest = [], length(item)
        group.append(item)
    if group:
        yield group
