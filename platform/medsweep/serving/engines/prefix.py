"""The beginning that prompts share, such as the instruction: its keys and values are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHORTEST = 8
"""Tokens that a shared beginning must have to be worth keeping."""

LONGEST = 512
"""Tokens of a shared beginning that are kept at most, so that its memory stays small."""

MOST = 16
"""Beginnings that are kept: one for each adapter that was used last."""

KeysValues = list[tuple[Any, Any]]


@dataclass(frozen=True)
class Prefix:
    """A beginning of prompts.

    Attributes:
        ids: its tokens.
        layers: keys and values of each block, [heads, tokens, width].
    """

    ids: tuple[int, ...]
    layers: KeysValues


class SharedPrefixes:
    """Keeps the beginning that two prompts in a row share, for each adapter."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str | None, Prefix] = OrderedDict()
        self._last: dict[str | None, Sequence[int]] = {}

    def common(
        self, prompts: Sequence[tuple[str | None, Sequence[int]]]
    ) -> tuple[list[Prefix], int]:
        """Return what prompts that are read together begin with.

        Args:
            prompts: adapter and tokens of each prompt.

        Returns:
            One prefix for each prompt, and how many tokens of each prefix its prompt begins with;
            none and 0 if that are fewer than SHORTEST for one of them.
        """
        prefixes, shared = [], LONGEST
        for adapter, ids in prompts:
            prefix = self._kept.get(adapter)
            if prefix is None:
                return [], 0
            prefixes.append(prefix)
            # At least one token is left to be read: it gives the logits.
            shared = min(shared, _alike(prefix.ids, ids[:-1]))
        if shared < SHORTEST:
            return [], 0
        for adapter, _ in prompts:
            self._kept.move_to_end(adapter)
        return prefixes, shared

    def learn(self, adapter: str | None, ids: Sequence[int], layers: KeysValues) -> None:
        """Keep what a prompt shares with the one before of its adapter.

        Args:
            adapter: of the prompt.
            ids: its tokens.
            layers: keys and values of each block, [heads, tokens, width].
        """
        last, self._last[adapter] = self._last.get(adapter, ()), ids
        shared = min(LONGEST, _alike(last, ids[:-1]))
        if shared < SHORTEST:
            return
        kept = [(keys[:, :shared].clone(), values[:, :shared].clone()) for keys, values in layers]
        self._kept[adapter] = Prefix(tuple(ids[:shared]), kept)
        self._kept.move_to_end(adapter)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def drop(self, adapter: str | None) -> None:
        """Forget what an adapter's prompts begin with."""
        self._kept.pop(adapter, None)
        self._last.pop(adapter, None)


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
