"""An adapter's layers, made beside the model that answers.

PEFT takes about a second of Python to put an adapter on a model of 200 layers. Done on the model
itself, every answer under way waits for it. Here PEFT does it to a model of the same shape without
weights, on another thread; the layers that come of it are then moved over in some milliseconds.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAME = "made"


class Skeleton:
    """A model without weights, built when it is needed first; may be used by any thread.

    Args:
        folder: of the base model.
        dtype: of its weights.
    """

    def __init__(self, folder: Path, dtype: Any) -> None:
        self._folder, self._dtype = folder, dtype
        self._model: Any = None
        self._lock = threading.Lock()

    def layers(self, config: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the layers of PEFT that hold an adapter, under `NAME`, by their place.

        Args:
            config: PEFT's configuration of it.
            tensors: its weights by name.
        """
        import torch
        from peft import PeftModel, set_peft_model_state_dict
        from transformers import AutoConfig, AutoModelForCausalLM

        with self._lock, torch.no_grad():
            if self._model is None:
                shape = AutoConfig.from_pretrained(self._folder)
                with torch.device("meta"):
                    self._model = AutoModelForCausalLM.from_config(shape, dtype=self._dtype)
                _take_memory_for_one_value(self._model)
            # PEFT writes into the configuration.
            made = PeftModel(
                self._model, copy.deepcopy(config), adapter_name=NAME, low_cpu_mem_usage=True
            )
            set_peft_model_state_dict(
                made, dict(tensors), adapter_name=NAME, low_cpu_mem_usage=True
            )
            found = dict(lora_layers(made.eval()))
            self._model = made.unload()
            return found


def _take_memory_for_one_value(model: Any) -> None:
    """Have every weight of a model be the same value over and over.

    PEFT puts an adapter where the weights are; on no device at all its values would be lost.
    """
    import torch

    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            value = torch.zeros((), dtype=weight.dtype).expand(weight.shape)
            setattr(module, name, torch.nn.Parameter(value, requires_grad=False))


def can_be_made_apart(config: Any) -> bool:
    """Whether an adapter is made of low-rank layers alone, which need nothing of the weights."""
    special = config.use_dora, config.modules_to_save, config.trainable_token_indices
    return isinstance(config.init_lora_weights, bool) and not any(special)


def lora_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers of a PEFT model that hold adapters, by their place in the base model."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.base_model.model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def move(made: Any, layer: Any, name: str) -> None:
    """Give a layer what another one holds of an adapter.

    Args:
        made: one of the layers of a skeleton.
        layer: the same one of the model that answers.
        name: what that model knows the adapter by.
    """
    device = layer.get_base_layer().weight.device
    for attribute, held in {**vars(made), **made._modules}.items():
        if not hasattr(held, "keys") or NAME not in held.keys():  # noqa: SIM118 not all are dicts
            continue
        value = held[NAME]
        getattr(layer, attribute)[name] = value.to(device) if hasattr(value, "to") else value
