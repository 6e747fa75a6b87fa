"""An adapter put on a model as a copy of one that is there, with weights of its own.

PEFT takes about a second of Python to put an adapter on a model of 200 layers, and every answer
under way waits. An adapter of the same configuration as one that is there needs none of what it
does: only entries like the other's in each layer, which takes some milliseconds.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "base_model.model."

# What may differ between two adapters whose layers are alike.
_OF_ITS_OWN = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "peft_version",
    "revision",
    "task_type",
)


def only_low_rank(config: Any) -> bool:
    """Whether an adapter is made of pairs of low-rank matrices alone."""
    more = config.use_dora, config.lora_bias, config.modules_to_save
    return not any((*more, config.trainable_token_indices)) and config.bias == "none"


def alike(one: Any, other: Any) -> bool:
    """Whether the layers of two adapters differ by their weights alone."""
    fields = [
        {name: value for name, value in config.to_dict().items() if name not in _OF_ITS_OWN}
        for config in (one, other)
    ]
    return only_low_rank(one) and fields[0] == fields[1]


def by_place(tensors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return an adapter's tensors by the place of their layer, then by `lora_A` or `lora_B`."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, tensor in tensors.items():
        place, _, part = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        found[place][part] = tensor
    return found


def lora_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a PEFT model that hold adapters, by their place in the base model."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.base_model.model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def put_beside(layer: Any, like: str, name: str, tensors: Mapping[str, Any]) -> None:
    """Give a layer an adapter that differs from another one there by its weights alone.

    Args:
        layer: PEFT's.
        like: the other adapter.
        name: the new one.
        tensors: its weights, by `lora_A` and `lora_B`.
    """
    import torch

    for attribute, held in [*vars(layer).items(), *layer._modules.items()]:
        if not isinstance(held, (dict, torch.nn.ModuleDict)) or like not in held:
            continue
        entry = held[like]
        if attribute in tensors:
            weight = tensors[attribute].to(entry.weight)
            entry = copy.copy(entry)
            own = torch.nn.Parameter(weight, requires_grad=False)
            entry._parameters = {**entry._parameters, "weight": own}
        held[name] = entry
