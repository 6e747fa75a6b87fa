"""A base model in memory with any number of adapters, which are added and removed at run time."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsweep.errors import InputError
from medsweep.models.loading import bitsandbytes_config, load_model
from medsweep.serving.engines.adapter_stack import AdapterStack
from medsweep.serving.engines.compatibility import attention_implementation
from medsweep.serving.engines.low_rank import LowRankPair, shape_of
from medsweep.serving.engines.packed import pack_weights
from medsweep.serving.engines.token_scores import token_scores
from medsweep.serving.protocol import TokenScores


class LoraModel:
    """The base model and its adapters; every method but `device` belongs to one thread.

    Args:
        folder: folder of the base model's weights.
        dtype: compute dtype.
        quantization: quantization of the base's weights: none, int8 or nf4 (bitsandbytes).
        flash: whether FlashAttention may be used where the device has it.
        rows: most rows of a decoding step; only `adapters.assign` needs it.
        gpu: number of the GPU, where there is one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str,
        quantization: str,
        flash: bool,
        rows: int = 1,
        gpu: int = 0,
    ) -> None:
        with _without_collection():
            import torch
            from transformers import AutoModelForCausalLM  # noqa: F401 load_model needs it
            from transformers.utils.logging import disable_progress_bar
        disable_progress_bar()
        capability = torch.cuda.get_device_capability(gpu) if torch.cuda.is_available() else None
        settings: dict[str, Any] = {"dtype": getattr(torch, dtype)}
        if flash:
            settings["attn_implementation"] = attention_implementation(capability, dtype)
        else:
            settings["attn_implementation"] = "sdpa"
        if quantization != "none":
            settings["quantization_config"] = bitsandbytes_config(quantization, settings["dtype"])
        if capability is not None or quantization != "none":
            # One GPU, however many there are: splitting the layers over two would compute on one
            # after the other.
            settings["device_map"] = {"": "cpu" if capability is None else f"cuda:{gpu}"}
        self.model: Any = load_model(folder, **settings).eval()
        self.device = self.model.device
        if self.device.type == "cpu" and quantization == "none":
            pack_weights(self.model)
        self.adapters = AdapterStack(
            rows, self.device, settings["dtype"], all_columns=self.device.type == "cuda"
        )

    def add(self, name: str, pairs: Mapping[str, LowRankPair]) -> None:
        """Add an adapter to the model.

        Args:
            name: the engine's own name for it.
            pairs: its matrices, from `read_pairs`.

        Raises:
            InputError: the adapter does not fit the model.
        """
        self.adapters.add(
            name, pairs, {place: self._layer(place, pair) for place, pair in pairs.items()}
        )

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

    def using(self, name: str | None) -> Any:
        """Return the model with one adapter for every row, or none."""
        self.adapters.select([name])
        return self.model

    def logits(self, names: Sequence[str | None], **inputs: Any) -> Any:
        """Run the model over rows that may each use another adapter.

        Args:
            names: adapter of each row; None is the base model.
            inputs: arguments of transformers' `forward`.

        Returns:
            Logits of the last position, [rows, vocabulary].
        """
        self.adapters.select(names)
        return self.last_logits(**inputs)

    def token_scores(
        self, name: str | None, tokenizer: Any, ids: Sequence[int], first: int, top: int
    ) -> TokenScores:
        """Return log-probabilities of tokens by the model with one adapter, or none."""
        return token_scores(self.using(name), tokenizer, ids, first=first, top=top)

    def first_cache(self) -> list[tuple[Any, Any]]:
        """Return keys and values of each block for one token, [1, heads, 1, width]."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        with torch.inference_mode():
            self.logits(
                [None],
                input_ids=torch.zeros(1, 1, dtype=torch.long, device=self.device),
                past_key_values=cache,
            )
        return [(layer.keys, layer.values) for layer in cache.layers]

    def last_logits(self, **inputs: Any) -> Any:
        """Run the model with the adapters that are selected; arguments and result as `logits`."""
        return self.model(**inputs, logits_to_keep=1).logits[:, -1]


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
