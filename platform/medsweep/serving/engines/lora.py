"""A base model in memory with any number of adapters on it, put on and taken off at run time."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.finetune.adapter import WEIGHTS_FILE, Adapter
from medsweep.serving.engines.alike import alike, by_place, lora_layers, only_low_rank, put_beside
from medsweep.serving.engines.compatibility import attention_implementation
from medsweep.serving.engines.packed import pack

BASE_ROW = "__base__"
"""What PEFT calls a row of a mixed batch that uses no adapter."""


@dataclass(frozen=True)
class AdapterFiles:
    """What an adapter's folder holds, in memory.

    Attributes:
        config: PEFT's configuration.
        tensors: weights by name.
    """

    config: Any
    tensors: Mapping[str, Any]


def read_files(adapter: Adapter) -> AdapterFiles:
    """Read an adapter's files; may run beside the model."""
    from peft import PeftConfig
    from safetensors.torch import load_file

    config = PeftConfig.from_pretrained(adapter.folder)
    config.inference_mode = True
    return AdapterFiles(config, load_file(adapter.folder / WEIGHTS_FILE))


class LoraModel:
    """The base model and its adapters; every method but `device` belongs to one thread.

    Args:
        folder: of the base model's weights.
        dtype: compute dtype.
        quantization: of the base's weights: none, int8 or nf4 (bitsandbytes).
        flash: whether FlashAttention may be used where the device has it.
    """

    def __init__(self, folder: Path, *, dtype: str, quantization: str, flash: bool) -> None:
        with _without_collection():
            import torch
            from peft import PeftModel
            from transformers import AutoModelForCausalLM
            from transformers.utils.logging import disable_progress_bar
        disable_progress_bar()
        self._peft = PeftModel
        capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
        settings: dict[str, Any] = {"dtype": getattr(torch, dtype)}
        if flash:
            settings["attn_implementation"] = attention_implementation(capability, dtype)
        else:
            settings["attn_implementation"] = "sdpa"
        if quantization != "none":
            settings["quantization_config"] = _quantized(quantization, settings["dtype"])
        if capability is not None or quantization != "none":
            several = capability is not None and torch.cuda.device_count() > 1
            only = "cuda" if capability is not None else "cpu"
            settings["device_map"] = "auto" if several else {"": only}
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, **settings).eval()
        if capability is None and quantization == "none":
            pack(self.model)
        self.device = self.model.device
        self._layers: dict[str, Any] = {}  # PEFT's, by their place
        self._active: str | None = None

    def add(self, name: str, files: AdapterFiles) -> None:
        """Put an adapter on the model; which one is active stays.

        Args:
            name: the engine's own name of it, without a dot; PEFT makes modules of that name.
            files: as `read_files` gives them.
        """
        import torch
        from peft import set_peft_model_state_dict

        # Weights made in inference mode could not be moved into a module.
        with torch.inference_mode(False), torch.no_grad():
            if self._put_beside(name, files):
                return
            if isinstance(self.model, self._peft):
                self.model.add_adapter(name, files.config, low_cpu_mem_usage=True)
            else:
                self.model = self._peft(
                    self.model, files.config, adapter_name=name, low_cpu_mem_usage=True
                )
            set_peft_model_state_dict(
                self.model, dict(files.tensors), adapter_name=name, low_cpu_mem_usage=True
            )
            self.model.eval()
        self._layers = dict(lora_layers(self.model))
        self._apply()

    def _put_beside(self, name: str, files: AdapterFiles) -> bool:
        """Put an adapter on the model as a copy of one that is there, if one is like it."""
        configs: dict[str, Any] = getattr(self.model, "peft_config", {})
        like = next((n for n, config in configs.items() if alike(files.config, config)), None)
        if like is None:
            return False
        tensors = by_place(files.tensors)
        places = {place for place, layer in self._layers.items() if like in layer.lora_A}
        pairs = [part.keys() for part in tensors.values()]
        if tensors.keys() != places or any(pair != {"lora_A", "lora_B"} for pair in pairs):
            return False
        for place, pair in tensors.items():
            put_beside(self._layers[place], like, name, pair)
        configs[name] = files.config
        return True

    def drop(self, name: str) -> None:
        """Take an adapter off the model; if it was active, the base model is."""
        if self._active == name:
            self._active = None
        if list(self.model.peft_config) == [name]:
            self.model = self.model.unload()  # PEFT cannot compute without any adapter
            self._layers = {}
        else:
            self.model.delete_adapter(name)
        self._apply()

    def activate(self, name: str | None) -> Any:
        """Return the model with one adapter active, or the base model for None."""
        if name != self._active:
            self._active = name
            self._apply()
        return self.model

    def logits(self, names: Sequence[str | None], **inputs: Any) -> Any:
        """Run the model over rows that may each use another adapter.

        Args:
            names: adapter of each row; None is the base model.
            inputs: what transformers' forward takes.

        Returns:
            Logits of the last position, [rows, vocabulary].
        """
        if len(set(names)) > 1:
            if self._active is None:  # whichever it is, if only adapters are on
                self.activate(next(name for name in names if name))
            inputs["adapter_names"] = [name or BASE_ROW for name in names]
        else:
            self.activate(names[0])
        return self.model(**inputs, logits_to_keep=1).logits[:, -1]

    def _apply(self) -> None:
        """Have every layer compute with the active adapter; PEFT activates what it has just added.

        PEFT's own way also notes in every weight of every adapter whether it is being trained: that
        took 75 ms with five adapters on 210 layers, and more with more.
        """
        if not isinstance(self.model, self._peft):
            return
        base = self.model.base_model
        if not all(map(only_low_rank, self.model.peft_config.values())):
            if self._active is None:
                base.disable_adapter_layers()
            else:
                base.enable_adapter_layers()
                self.model.set_adapter(self._active, inference_mode=True)
            return
        if self._active is not None and self._active not in self.model.peft_config:
            raise ValueError(f"there is no adapter {self._active}")
        for layer in self._layers.values():
            layer._disable_adapters = self._active is None
            if self._active is not None:
                layer._active_adapter = self._active


def _quantized(quantization: str, dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig
    from transformers.utils import is_bitsandbytes_available

    if not is_bitsandbytes_available():
        raise EnvironmentFault(
            f"quantization {quantization} needs bitsandbytes: pip install 'medsweep[quant]'"
        )
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Import without garbage collection, and leave what was made out of it for good.

    What an import makes stays. Looking through it again and again took a sixth of the CPU time of
    importing torch, transformers and peft; later collections are shorter for it too.
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
