"""The KV cache of the `continuous` engine: one slot per row; rows come and go between tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.hardware.cgroup import available_memory
from medsweep.hardware.profile import GIB

BLOCK = 256
"""Tokens by which the capacity of the slots is rounded up."""


GPU_SHARE = 0.8
"""Share of a GPU's memory that is free after loading which the cache may take. The rest is for
prompts that are being read, for adapters that are loaded later and for CUDA graphs."""

CPU_SHARE = 0.5
"""The same share of main memory, which others use too. Pages count only once written to."""


def token_budget(like: Sequence[tuple[Any, Any]], wanted: int) -> int:
    """Return how many tokens the cache may hold in the memory that is free now.

    Args:
        like: key and value of each block for one token, on the device.
        wanted: tokens that would be enough.

    Raises:
        EnvironmentFault: there is no memory for a cache at all.
    """
    token_bytes = sum(each.nbytes for pair in like for each in pair)
    free, share = _free_bytes(like[0][0].device), CPU_SHARE
    if like[0][0].device.type == "cuda":
        share = GPU_SHARE
    if free is None:
        return wanted
    tokens = min(wanted, int(free * share / token_bytes))
    if tokens < BLOCK:
        raise EnvironmentFault(
            f"{free / GIB:.1f} GiB are free after the model was loaded; the KV cache of "
            f"{BLOCK} tokens needs {BLOCK * token_bytes / share / GIB:.1f}: quantize the weights, "
            "or take a profile with more memory"
        )
    return tokens


def _free_bytes(device: Any) -> int | None:
    import torch

    if device.type != "cuda":
        return available_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


@dataclass
class _Layer:
    """One block's memory, and its keys and values as [slots, heads, capacity, width]."""

    memory: tuple[Any, Any]
    heads: int
    width: int
    keys: Any = None
    values: Any = None


class Slots:
    """Keys and values of the running rows; row n of every batch is in slot n.

    Each row begins at position 0 of its slot and has its own length. A new row is written behind
    the others; when a row leaves, the last one moves into its slot. For a model of transformers
    this is a cache: it has the two methods that a forward pass calls.

    The memory is allocated once. All slots have the same capacity. Where the memory does not hold
    `rows` slots of the longest sequence, longer sequences leave room for fewer slots.

    Every position that holds no token holds zeros: attention multiplies them by 0, and nothing
    times infinity is NaN.

    Args:
        rows: most slots.
        tokens: tokens that the memory holds, of all slots together.
        like: key and value of each block for one token, [1, heads, 1, width].
        longest: tokens of the longest sequence that will be asked for, if the slots should have
            that capacity from the start; 0 lets them grow.

    Attributes:
        lengths: tokens in each slot, on the device.
        tokens: as given.
        growing: 1 for each slot that is in use, 0 for the others, on the device.
        capacity: tokens of a slot.
    """

    def __init__(
        self, rows: int, tokens: int, like: Sequence[tuple[Any, Any]], *, longest: int = 0
    ) -> None:
        import torch

        self._rows, self.tokens = rows, tokens
        self._layers = [
            _Layer(
                (
                    key.new_empty(tokens * key.shape[1] * key.shape[3]),
                    value.new_empty(tokens * value.shape[1] * value.shape[3]),
                ),
                key.shape[1],
                key.shape[3],
            )
            for key, value in like
        ]
        device = like[0][0].device
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)
        self.growing = torch.zeros(rows, dtype=torch.long, device=device)
        self._lengths: list[int] = []
        self._needs: list[int] = []
        self._at: Any = None  # the position that each row writes in this step
        self._window = 0
        self._longest = longest
        self.capacity = 0
        self._arrange(self._best_capacity([1]))

    @property
    def slots(self) -> int:
        """Number of slots that the memory holds at this capacity."""
        return min(self._rows, self.tokens // self.capacity)

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(self._lengths, default=0)

    def could_hold(self, need: int) -> bool:
        """Return whether a sequence of `need` tokens fits when no other is running."""
        return _rounded(need) <= self.tokens

    def has_room(self, needs: Sequence[int]) -> bool:
        """Return whether sequences of these lengths can be admitted beside the running ones."""
        needs = [*self._needs, *needs]
        return len(needs) <= min(self._rows, self.tokens // _rounded(max(needs)))

    def admit(
        self,
        filled: Sequence[tuple[Any, Any]],
        padding: Sequence[int],
        needs: Sequence[int],
        shared: int = 0,
    ) -> None:
        """Add rows.

        Args:
            filled: keys and values of each block of the rows' prompts, with the padding between
                the shared tokens and the others.
            padding: number of pad tokens per row.
            needs: tokens that each row may reach.
            shared: tokens of each row before the padding.
        """
        first, width = len(self._lengths), filled[0][0].shape[2]
        self._needs += needs
        if max(self._needs) > self.capacity or len(self._needs) > self.slots:
            self._arrange(self._best_capacity(self._needs))
        self._lengths += [width - gap for gap in padding]
        for layer, (keys, values) in zip(self._layers, filled, strict=True):
            for place, gap in enumerate(padding, first):
                for kept, new in ((layer.keys, keys), (layer.values, values)):
                    kept[place, :, :shared] = new[place - first, :, :shared]
                    kept[place, :, shared : width - gap] = new[place - first, :, shared + gap :]
        self._show()

    def evict(self, row: int) -> None:
        """Remove a row; the last one takes its slot."""
        last, length = len(self._lengths) - 1, self._lengths.pop()
        used = length
        need = self._needs.pop()
        if row != last:
            used = max(length, self._lengths[row])
            self._lengths[row], self._needs[row] = length, need
        for layer in self._layers:
            for kept in (layer.keys, layer.values):
                if row != last:
                    kept[row, :, :used] = kept[last, :, :used]
                kept[last, :, :used] = 0
        self._show()

    def clear(self) -> None:
        """Remove all rows."""
        self._lengths, self._needs = [], []
        self._arrange(self._best_capacity([1]))
        self._show()

    def step(self, rows: int, window: int) -> dict[str, Any]:
        """Prepare the next forward pass over one token per row; reads no memory of the host.

        Args:
            rows: number of rows, those without a sequence included.
            window: positions that attention reads: more than `longest`.

        Returns:
            Attention mask [rows, 1, 1, window], positions [rows, 1].
        """
        import torch

        at = self.lengths[:rows, None]
        self._at, self._window = at[:, :, None, None], window
        mask = torch.arange(window, device=at.device) <= at
        return {"attention_mask": mask[:, None, None], "position_ids": at}

    def advance(self) -> None:
        """Count the token that every row got in this step, on the device."""
        self.lengths.add_(self.growing)

    def advance_host(self) -> None:
        """Count the token that every row got in this step, in this process's own lengths."""
        self._lengths = [length + 1 for length in self._lengths]

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write one token per row; return all keys and values of one block."""
        kept, rows = self._layers[layer], len(keys)
        for memory, new in ((kept.keys, keys), (kept.values, values)):
            memory[:rows].scatter_(2, self._at.expand(new.shape), new)
        return kept.keys[:rows, :, : self._window], kept.values[:rows, :, : self._window]

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of positions that attention reads."""
        return self._window

    def _show(self) -> None:
        """Copy the lengths to the device."""
        import torch

        rest = [0] * (self._rows - len(self._lengths))
        self.lengths.copy_(torch.tensor([*self._lengths, *rest]))
        self.growing.copy_(torch.tensor([*([1] * len(self._lengths)), *rest]))

    def _best_capacity(self, needs: Sequence[int]) -> int:
        """Return the capacity for sequences of this length: `longest` where that leaves room."""
        needed = _rounded(max(needs))
        most = self.tokens // len(needs) // BLOCK * BLOCK
        if not self._longest:
            return needed
        for_all = self.tokens // self._rows // BLOCK * BLOCK
        return max(needed, min(_rounded(self._longest), max(for_all, BLOCK), most))

    def _arrange(self, capacity: int) -> None:
        """Give every slot another capacity; one block after the other, so that little is copied."""
        used, longest = len(self._lengths), self.longest
        self.capacity = capacity
        for layer in self._layers:
            shape = self.slots, layer.heads, capacity, layer.width
            for name, memory in zip(("keys", "values"), layer.memory, strict=True):
                kept = getattr(layer, name)[:used, :, :longest].clone() if used else None
                view = memory[: self.slots * layer.heads * capacity * layer.width].view(shape)
                view.zero_()
                if kept is not None:
                    view[:used, :, :longest] = kept
                setattr(layer, name, view)


def _rounded(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK
