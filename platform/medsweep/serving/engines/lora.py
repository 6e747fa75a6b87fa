"""A base model in memory with any number of adapters, which are added and removed at run time."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.models.loading import bitsandbytes_config, load_model
from medsweep.serving.engines.compatibility import attention_implementation
from medsweep.serving.engines.low_rank import AdaptedLayer, AdapterSelection, LowRankPair, shape_of


class LoraModel:
    """The base model and its adapters; every method but `device` belongs to one thread.

    Args:
        folder: folder of the base model's weights.
        dtype: compute dtype.
        quantization: quantization of the base's weights: none, int8 or nf4 (bitsandbytes).
        flash: whether FlashAttention may be used where the device has it.
    """

    def __init__(self, folder: Path, *, dtype: str, quantization: str, flash: bool) -> None:
        with _without_collection():
            import torch
            from transformers import AutoModelForCausalLM  # noqa: F401 load_model needs it
            from transformers.utils.logging import disable_progress_bar
        disable_progress_bar()
        capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
        settings: dict[str, Any] = {"dtype": getattr(torch, dtype)}
        if flash:
            settings["attn_implementation"] = attention_implementation(capability, dtype)
        else:
            settings["attn_implementation"] = "sdpa"
        if quantization != "none":
            settings["quantization_config"] = bitsandbytes_config(quantization, settings["dtype"])
        if capability is not None or quantization != "none":
            several = capability is not None and torch.cuda.device_count() > 1
            only = "cuda" if capability is not None else "cpu"
            settings["device_map"] = "auto" if several else {"": only}
        self.model: Any = load_model(folder, **settings).eval()
        self.device = self.model.device
        self._dtype = settings["dtype"]
        self._layers: dict[str, AdaptedLayer] = {}
        self._names: set[str] = set()

    def add(self, name: str, pairs: Mapping[str, LowRankPair]) -> None:
        """Add an adapter to the model.

        Args:
            name: the engine's own name for it.
            pairs: its matrices, from `read_pairs`.

        Raises:
            InputError: the adapter does not fit the model.
        """
        import torch

        layers = {place: self._layer(place, pair) for place, pair in pairs.items()}
        with torch.inference_mode(False):
            for place, pair in pairs.items():
                if place not in self._layers:
                    self._layers[place] = AdaptedLayer(layers[place])
                there = {"device": layers[place].weight.device, "dtype": self._dtype}
                self._layers[place].put(
                    name, LowRankPair(pair.down.to(**there), pair.up.to(**there))
                )
        self._names.add(name)

    def _layer(self, place: str, pair: LowRankPair) -> Any:
        try:
            layer = self.model.get_submodule(place)
        except AttributeError:
            raise InputError(
                f"the adapter changes a layer {place}, which the base model does not have"
            ) from None
        shape = len(pair.down), pair.up.shape[1]
        if shape_of(layer) != shape:
            raise InputError(
                f"the adapter's {place} has {shape[0]} inputs and {shape[1]} outputs; the base "
                "model's layer has another shape"
            )
        return layer

    def drop(self, name: str) -> None:
        """Remove an adapter from the model."""
        self._names.remove(name)
        for layer in self._layers.values():
            layer.drop(name)

    def using(self, name: str | None) -> Any:
        """Return the model with one adapter for every row, or none."""
        self._select([name])
        return self.model

    def logits(self, names: Sequence[str | None], **inputs: Any) -> Any:
        """Run the model over rows that may each use another adapter.

        Args:
            names: adapter of each row; None is the base model.
            inputs: arguments of transformers' `forward`.

        Returns:
            Logits of the last position, [rows, vocabulary].
        """
        self._select(names)
        return self.model(**inputs, logits_to_keep=1).logits[:, -1]

    def _select(self, names: Sequence[str | None]) -> None:
        import torch

        used = tuple(sorted({name for name in names if name is not None}))
        if not self._names.issuperset(used):
            raise ValueError(f"there is no adapter {', '.join(set(used) - self._names)}")
        selection = AdapterSelection(used)
        if used and (None in names or len(used) > 1):
            selection.owners = torch.tensor([used.index(name) if name else -1 for name in names])
        for layer in self._layers.values():
            layer.selection = selection


@contextmanager
def _without_collection() -> Iterator[None]:
    """Import without garbage collection, and exempt the imported objects from it for good.

    Imported objects stay alive anyway. Scanning them took a sixth of the CPU time of importing
    torch and transformers, and would lengthen later collections too.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
