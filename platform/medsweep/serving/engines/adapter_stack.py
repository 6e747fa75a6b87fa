"""The adapters of a model side by side in memory, with a different adapter per row if needed.

PEFT computes the same result, but runs more Python in every step and takes about a second to load
an adapter; docs/results/benchmarks.md compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.serving.engines.low_rank import LowRankPair, shape_of

FEWEST_COLUMNS = 64
"""Columns of the smallest buffers: four adapters of rank 16 together, without any growth."""

_NO_ADAPTER = -1
_FREE = -2


@dataclass(frozen=True)
class Columns:
    """The part of the stacked matrices that a forward pass multiplies with.

    Attributes:
        start: first column.
        stop: the column after the last one; equal to `start` for the base model alone.
        masked: whether rows use different adapters, so that each needs a mask.
    """

    start: int
    stop: int
    masked: bool


@dataclass
class _Selection:
    """What the layers use in the next forward pass; `foreign` masks other rows' columns."""

    columns: Columns = Columns(0, 0, False)
    foreign: Any = None


class AdaptedLayer:
    """A linear layer with room for adapters; it replaces the layer's `forward`.

    Args:
        layer: a layer of the base model.
        selection: what the next forward pass uses.

    Attributes:
        down: [columns, inputs].
        up: [columns, outputs].
    """

    def __init__(self, layer: Any, selection: _Selection) -> None:
        self.down: Any = None
        self.up: Any = None
        self._selection = selection
        self._base = layer.forward
        layer.forward = self

    def __call__(self, rows: Any) -> Any:
        """Return the layer's output, each row with its adapter."""
        import torch

        out = self._base(rows)
        columns = self._selection.columns
        if columns.start == columns.stop:
            return out
        low = torch.nn.functional.linear(rows, self.down[columns.start : columns.stop])
        if self._selection.foreign is not None:
            # Filled, not multiplied by 0: infinity times 0 is NaN.
            low.masked_fill_(self._selection.foreign, 0)
        up = self.up[columns.start : columns.stop]
        out.view(-1, out.shape[-1]).addmm_(low.view(-1, low.shape[-1]), up)
        return out


class AdapterStack:
    """The matrices of the adapters in use, concatenated: two products serve the rows of all.

    An adapter has the same columns in every layer and keeps them until others need the room. The
    buffers stay at their addresses in memory, because CUDA graphs read from there.

    Args:
        rows: most rows of a decoding step.
        device: device of the buffers.
        dtype: torch dtype of the buffers.
        all_columns: always multiply with all of them, so that a step has few different shapes.

    Attributes:
        version: changes when a graph that was captured with adapters is no longer valid.
    """

    def __init__(self, rows: int, device: Any, dtype: Any, *, all_columns: bool) -> None:
        import torch

        self.version = 0
        self._device, self._dtype, self._all_columns = device, dtype, all_columns
        self._layers: dict[str, AdaptedLayer] = {}
        self._pairs: dict[str, Mapping[str, LowRankPair]] = {}
        self._ids: dict[str, int] = {}
        self._next_id = 0
        self._spans: dict[str, tuple[int, int]] = {}
        self._selection = _Selection()
        self._row_owners = torch.full((rows,), _NO_ADAPTER, device=device)
        self._column_owners = torch.full((0,), _FREE, device=device)
        self._assigned: tuple[tuple[str | None, ...], Columns] | None = None

    def add(self, name: str, pairs: Mapping[str, LowRankPair], layers: Mapping[str, Any]) -> None:
        """Add an adapter.

        Args:
            name: the engine's own name for it.
            pairs: its matrices by the path of their layer.
            layers: the layers of the base model by path.
        """
        for place, layer in layers.items():
            if place not in self._layers:
                self._layers[place] = AdaptedLayer(layer, self._selection)
                inputs, outputs = shape_of(layer) or (0, 0)
                self._give_room(self._layers[place], inputs, outputs)
                self.version += 1
        self._pairs[name] = {
            place: LowRankPair(self._there(pair.down), self._there(pair.up))
            for place, pair in pairs.items()
        }
        self._ids[name] = self._next_id
        self._next_id += 1

    def drop(self, name: str) -> None:
        """Remove an adapter."""
        del self._pairs[name], self._ids[name]
        self._assigned = None
        if name in self._spans:
            start, stop = self._spans.pop(name)
            self._column_owners[start:stop] = _FREE

    def select(self, names: Sequence[str | None]) -> None:
        """Choose the adapter of each row of the next forward pass; None is the base model.

        Raises:
            ValueError: there is no such adapter.
        """
        import torch

        columns = self._columns(names, all_columns=False)
        owners = None
        if columns.masked:
            owners = torch.tensor(self._owners(names), device=self._device)
        self._set(columns, owners)

    def assign(self, names: Sequence[str | None]) -> Columns:
        """Choose the adapters of the rows that are being decoded, for any number of steps.

        Returns:
            What `use` takes in each step.

        Raises:
            ValueError: there is no such adapter.
        """
        import torch

        if self._assigned is not None and self._assigned[0] == tuple(names):
            return self._assigned[1]
        columns = self._columns(names, all_columns=self._all_columns)
        if columns.masked:
            rest = [_NO_ADAPTER] * (len(self._row_owners) - len(names))
            self._row_owners.copy_(torch.tensor([*self._owners(names), *rest]))
        self._assigned = tuple(names), columns
        return columns

    def usual_columns(self) -> list[Columns]:
        """Return what `assign` would return for the base model alone and, if any, for adapters."""
        usual = [Columns(0, 0, False)]
        if self._pairs:
            usual.append(
                self._columns(
                    list(self._pairs)[: len(self._row_owners)], all_columns=self._all_columns
                )
            )
        return usual

    def use(self, columns: Columns, rows: int) -> None:
        """Select the assigned adapters for the next forward pass; reads no memory of the host.

        Args:
            columns: from `assign`.
            rows: number of rows of the forward pass; those without an assignment use none.
        """
        self._set(columns, self._row_owners[:rows] if columns.masked else None)

    def _set(self, columns: Columns, owners: Any) -> None:
        self._selection.columns = columns
        self._selection.foreign = None
        if owners is not None:
            mine = self._column_owners[columns.start : columns.stop]
            self._selection.foreign = owners[:, None, None] != mine

    def _owners(self, names: Sequence[str | None]) -> list[int]:
        return [_NO_ADAPTER if name is None else self._ids[name] for name in names]

    def _columns(self, names: Sequence[str | None], *, all_columns: bool) -> Columns:
        used = list(dict.fromkeys(name for name in names if name is not None))
        unknown = [name for name in used if name not in self._pairs]
        if unknown:
            raise ValueError(f"there is no adapter {', '.join(unknown)}")
        self._make_resident(used)
        spans = [self._spans[name] for name in used]
        start, stop = min((a for a, _ in spans), default=0), max((b for _, b in spans), default=0)
        if start == stop:
            return Columns(0, 0, False)
        if all_columns:
            return Columns(0, len(self._column_owners), True)
        return Columns(start, stop, masked=len(used) > 1 or None in names)

    def _make_resident(self, used: Sequence[str]) -> None:
        """Copy adapters into free columns; those that are not used now make room for them."""
        missing = [name for name in used if name not in self._spans]
        if not missing:
            return
        end = max((stop for _, stop in self._spans.values()), default=0)
        if end + sum(map(self._rank, missing)) > len(self._column_owners):
            self._spans, missing, end = {}, list(used), 0
            self._column_owners.fill_(_FREE)
            self._grow(sum(map(self._rank, missing)))
        for name in missing:
            start, end = end, end + self._rank(name)
            self._spans[name] = start, end
            self._column_owners[start:end] = self._ids[name]
            for place, layer in self._layers.items():
                pair = self._pairs[name].get(place)
                if pair is None:
                    layer.down[start:end].zero_()
                    layer.up[start:end].zero_()
                else:
                    layer.down[start:end].copy_(pair.down.T)
                    layer.up[start:end].copy_(pair.up)

    def _grow(self, needed: int) -> None:
        import torch

        capacity = len(self._column_owners)
        if needed <= capacity:
            return
        capacity = max(FEWEST_COLUMNS, 1 << (needed - 1).bit_length())
        with torch.inference_mode(False):  # it is written to outside of inference mode, too
            self._column_owners = torch.full((capacity,), _FREE, device=self._device)
        for layer in self._layers.values():
            self._give_room(layer, layer.down.shape[1], layer.up.shape[1])
        self.version += 1

    def _give_room(self, layer: AdaptedLayer, inputs: int, outputs: int) -> None:
        import torch

        kind = {"device": self._device, "dtype": self._dtype}
        with torch.inference_mode(False):
            layer.down = torch.zeros(len(self._column_owners), inputs, **kind)
            layer.up = torch.zeros(len(self._column_owners), outputs, **kind)

    def _rank(self, name: str) -> int:
        return len(next(iter(self._pairs[name].values())).up)

    def _there(self, matrix: Any) -> Any:
        return matrix.to(device=self._device, dtype=self._dtype)
