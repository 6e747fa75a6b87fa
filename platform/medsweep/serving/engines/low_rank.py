"""Low-rank adapters on the layers of a model, with a different adapter per row if needed.

PEFT computes the same result, but runs more Python in every step and takes about a second to load
an adapter; docs/results/benchmarks.md compares the two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.finetune.adapter import WEIGHTS_FILE

CONFIG_FILE = "adapter_config.json"

_PREFIX = "base_model.model."

_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "trainable_token_indices": (None, [], {}),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
}
"""The values in PEFT's configuration that mean plain LoRA: one pair of matrices per layer."""


@dataclass(frozen=True)
class LowRankPair:
    """The matrices of one layer's adapter; it adds rows @ down @ up to the layer's output.

    Attributes:
        down: [inputs, rank].
        up: [rank, outputs], scaled.
    """

    down: Any
    up: Any


def read_scale(folder: Path) -> float:
    """Return the factor by which the product of an adapter's matrices is multiplied.

    Args:
        folder: the adapter's folder, as PEFT writes it.

    Raises:
        InputError: the adapter is not plain LoRA (Hu et al., 2021).
    """
    config = json.loads((folder / CONFIG_FILE).read_text())
    unsupported = {
        name: config[name]
        for name, plain in _PLAIN.items()
        if name in config and config[name] not in plain
    }
    if unsupported:
        options = ", ".join(f"{name}: {value!r}" for name, value in unsupported.items())
        raise InputError(f"{folder / CONFIG_FILE}: only plain LoRA can be served, not {options}")
    rank, alpha = config["r"], config["lora_alpha"]
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def read_pairs(folder: Path) -> dict[str, LowRankPair]:
    """Return an adapter's matrices by the path of their layer in the base model.

    Args:
        folder: the adapter's folder, as PEFT writes it.

    Raises:
        InputError: the adapter is not plain LoRA.
    """
    from safetensors.torch import load_file

    scale = read_scale(folder)
    halves: dict[str, dict[str, Any]] = {}
    for name, tensor in load_file(folder / WEIGHTS_FILE).items():
        place, _, half = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        halves.setdefault(place, {})[half] = tensor
    odd = [place for place, tensors in halves.items() if tensors.keys() != {"lora_A", "lora_B"}]
    if odd or not halves:
        fault = f"{odd[0]} has {', '.join(sorted(halves[odd[0]]))}" if odd else "it has no tensors"
        raise InputError(
            f"{folder / WEIGHTS_FILE}: every layer needs lora_A and lora_B, but {fault}"
        )
    return {
        place: LowRankPair(
            tensors["lora_A"].float().T.contiguous(),
            (tensors["lora_B"].float() * scale).T.contiguous(),
        )
        for place, tensors in halves.items()
    }


@dataclass
class AdapterSelection:
    """Which rows of a forward pass use which adapter.

    Attributes:
        names: the adapters in use.
        owners: for each row the index of its adapter in `names`, -1 for the base model; None if
            every row uses the only adapter.
    """

    names: tuple[str, ...] = ()
    owners: Any = None
    _masks: dict[tuple[int, ...], Any] = field(default_factory=dict)

    def foreign(self, ranks: tuple[int, ...], device: Any) -> Any:
        """Return a mask of the intermediate values that belong to other rows' adapters.

        Args:
            ranks: ranks of the adapters.
            device: device of the mask.

        Returns:
            [rows, 1, sum of ranks].
        """
        import torch

        if ranks not in self._masks:
            places = torch.arange(len(ranks)).repeat_interleave(torch.tensor(ranks))
            self._masks[ranks] = (self.owners[:, None, None] != places).to(device)
        return self._masks[ranks].to(device)


class AdaptedLayer:
    """A linear layer with adapters; it replaces the layer's `forward`.

    Where rows use different adapters, the adapters' matrices are concatenated: the same two
    products serve all rows, and a mask between them keeps each row to its own adapter.

    Args:
        layer: a layer of the base model.
    """

    def __init__(self, layer: Any) -> None:
        self.selection = AdapterSelection()
        self._pairs: dict[str, LowRankPair] = {}
        self._stacked: dict[tuple[str, ...], tuple[LowRankPair, tuple[int, ...]]] = {}
        self._base = layer.forward
        layer.forward = self

    def put(self, name: str, pair: LowRankPair) -> None:
        """Add an adapter to the layer."""
        self._pairs[name] = pair

    def drop(self, name: str) -> None:
        """Remove an adapter, if it changes this layer."""
        self._pairs.pop(name, None)
        self._stacked = {}

    def __call__(self, rows: Any) -> Any:
        """Return the layer's output, each row with its adapter."""
        out = self._base(rows)
        if not (self.selection.names and self._pairs):
            return out
        pair, ranks = self._stacked.get(self.selection.names) or self._stack(self.selection.names)
        if not any(ranks):
            return out
        low = rows.to(pair.down.device) @ pair.down
        if self.selection.owners is not None:
            # Filled, not multiplied by 0: infinity times 0 is NaN.
            low.masked_fill_(self.selection.foreign(ranks, low.device), 0)
        out.view(-1, out.shape[-1]).addmm_(low.view(-1, low.shape[-1]), pair.up)
        return out

    def _stack(self, names: tuple[str, ...]) -> tuple[LowRankPair, tuple[int, ...]]:
        """Return the concatenated matrices of several adapters; only the latest set is kept."""
        import torch

        some = next(iter(self._pairs.values()))
        nothing = LowRankPair(some.down[:, :0], some.up[:0])
        pairs = [self._pairs.get(name, nothing) for name in names]
        stacked = pairs[0]
        if len(pairs) > 1:
            stacked = LowRankPair(
                torch.cat([p.down for p in pairs], 1), torch.cat([p.up for p in pairs])
            )
        self._stacked = {names: (stacked, tuple(len(pair.up) for pair in pairs))}
        return self._stacked[names]


def shape_of(layer: Any) -> tuple[int, int] | None:
    """Return the inputs and outputs of a linear layer; None for any other layer."""
    if hasattr(layer, "in_features"):
        return layer.in_features, layer.out_features
    if hasattr(layer, "nx"):  # GPT-2's
        return layer.nx, layer.nf
    return None
