"""Reads the matrices of a low-rank adapter from its folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.finetune.adapted import more_than_lora
from medsweep.finetune.adapter import CONFIG_FILE, WEIGHTS_FILE, Adapter
from medsweep.finetune.adapter_copy import LORA_FILES, verified_copy

_PREFIX = "base_model.model."


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
    if unsupported := more_than_lora(config):
        options = ", ".join(f"{name}: {value!r}" for name, value in unsupported.items())
        raise InputError(f"{folder / CONFIG_FILE}: only plain LoRA can be served, not {options}")
    rank, alpha = config["r"], config["lora_alpha"]
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def read_rank(folder: Path) -> int:
    """Return the rank of a plain adapter's matrices.

    Args:
        folder: the adapter's folder, as PEFT writes it.

    Raises:
        InputError: its configuration does not say.
    """
    try:
        rank = json.loads((folder / CONFIG_FILE).read_text())["r"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / CONFIG_FILE}: no rank: {type(error).__name__}") from None
    if not isinstance(rank, int) or rank < 1:
        raise InputError(f"{folder / CONFIG_FILE}: the rank is not a positive number")
    return rank


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


def verified_pairs(adapter: Adapter) -> dict[str, LowRankPair]:
    """Return an adapter's matrices as `read_pairs` does, from files that have its hashes.

    Raises:
        InputError: the adapter is not plain LoRA.
        StageError: a file was changed or is missing.
    """
    with verified_copy(adapter, LORA_FILES) as folder:
        return read_pairs(folder)


def shape_of(layer: Any) -> tuple[int, int] | None:
    """Return the inputs and outputs of a linear layer; None for any other layer."""
    if hasattr(layer, "in_features"):
        return layer.in_features, layer.out_features
    if hasattr(layer, "nx"):  # GPT-2's
        return layer.nx, layer.nf
    return None
