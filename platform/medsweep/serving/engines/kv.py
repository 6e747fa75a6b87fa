"""The KV cache of the `continuous` engine: one slot per row; rows come and go between tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLOCK = 256
"""Tokens by which the slots grow."""


@dataclass
class _Layer:
    """One block's keys and values, [slots, heads, capacity, width]."""

    keys: Any
    values: Any


class Slots:
    """Keys and values of the running rows; row n of every batch is in slot n.

    Each row begins at position 0 of its slot and has its own length. A new row is written behind
    the others; when a row leaves, the last one moves into its slot. For a model of transformers
    this is a cache: it has the two methods that a forward pass calls.

    Args:
        rows: number of slots.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._layers: list[_Layer] = []
        self._lengths: list[int] = []
        self._written: Any = None  # the position that each row writes in this step
        self._longest = 0

    def step(self, device: Any) -> dict[str, Any]:
        """Make room for one more token of every row.

        Returns:
            The attention mask [rows, 1, 1, longest] and positions [rows, 1] of the next forward.
        """
        import torch

        self._written = torch.tensor(self._lengths, device=device)
        self._lengths = [length + 1 for length in self._lengths]
        self._longest = max(self._lengths)
        mask = torch.arange(self._longest, device=device) <= self._written[:, None]
        return {"attention_mask": mask[:, None, None], "position_ids": self._written[:, None]}

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write one token per row; return all keys and values of one block."""
        import torch

        kept = self._room(layer, keys, self._longest)
        rows, at = len(keys), self._written.to(keys.device)
        places = torch.arange(rows, device=keys.device)
        kept.keys[places, :, at] = keys[:, :, 0]
        kept.values[places, :, at] = values[:, :, 0]
        return kept.keys[:rows, :, : self._longest], kept.values[:rows, :, : self._longest]

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of positions in use."""
        return self._longest

    def admit(self, prefilled: Any, padding: Sequence[int]) -> None:
        """Add rows.

        Args:
            prefilled: transformers' cache of the rows' prompts, padded on the left.
            padding: number of pad tokens per row.
        """
        first = len(self._lengths)
        width = prefilled.get_seq_length()
        self._lengths += [width - gap for gap in padding]
        for number, filled in enumerate(prefilled.layers):
            kept = self._room(number, filled.keys, width)
            for place, gap in enumerate(padding, first):
                kept.keys[place, :, : width - gap] = filled.keys[place - first, :, gap:]
                kept.values[place, :, : width - gap] = filled.values[place - first, :, gap:]

    def evict(self, row: int) -> None:
        """Remove a row; the last one takes its slot."""
        last, length = len(self._lengths) - 1, self._lengths.pop()
        if row != last:
            self._lengths[row] = length
            for kept in self._layers:
                kept.keys[row, :, :length] = kept.keys[last, :, :length]
                kept.values[row, :, :length] = kept.values[last, :, :length]

    def _room(self, number: int, like: Any, needed: int) -> _Layer:
        """Return a block's slots with room for `needed` tokens."""
        capacity = self._layers[number].keys.shape[2] if number < len(self._layers) else 0
        if needed > capacity:
            _, heads, _, width = like.shape
            shape = self._rows, heads, -(-needed // BLOCK) * BLOCK, width
            # Zeros, not whatever memory holds: nothing times NaN is still NaN.
            grown = _Layer(like.new_zeros(shape), like.new_zeros(shape))
            if capacity:
                old = self._layers[number]
                grown.keys[:, :, :capacity], grown.values[:, :, :capacity] = old.keys, old.values
                self._layers[number] = grown
            else:
                self._layers.append(grown)
        return self._layers[number]
