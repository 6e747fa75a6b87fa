"""Find the base model of an adapter that may come from anyone, and load both without its code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medsweep.errors import StageError
from medsweep.finetune.adapter import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    Adapter,
    check_base,
    read_adapter,
    read_provenance,
)
from medsweep.finetune.adapter_copy import check_files, verified_copy
from medsweep.models.catalog import MODELS
from medsweep.models.loading import LOCAL, load_model, load_tokenizer
from medsweep.models.weights import catalogue_weights, fetch_weights

LORA_FIELDS = frozenset(
    {
        "base_model_name_or_path",
        "fan_in_fan_out",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",
        "peft_type",
        "peft_version",
        "r",
        "revision",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Fields of `adapter_config.json` that plain LoRA may set; the others must have PEFT's defaults."""

LORA_DEFAULTS: Mapping[str, Any] = {
    "bias": "none",
    "init_lora_weights": True,
    "megatron_core": "megatron.core",
    "qalora_group_size": 16,
}
"""PEFT's defaults of the other fields (0.21), where they are neither empty nor false."""


def _are_names(value: object) -> bool:
    """Whether these are names: PEFT takes some strings for regular expressions."""
    names = [value] if isinstance(value, str) else value
    return isinstance(names, list) and all(
        isinstance(name, str) and re.fullmatch(r"[\w.-]+", name) for name in names
    )


LORA_CHOICES: Mapping[str, Callable[[Any], bool]] = {
    "exclude_modules": _are_names,
    "init_lora_weights": lambda value: value in ("gaussian", "orthogonal"),
    "layers_pattern": _are_names,
    "layers_to_transform": lambda value: all(
        isinstance(layer, int) for layer in (value if isinstance(value, list) else [value])
    ),
}
"""Fields that only choose layers or initial values, and which of their values are plain LoRA.

Other initial values, such as those of PiSSA, change the base's weights.
"""


def open_adapter(folder: Path) -> Adapter:
    """Return an adapter all of whose files are listed, regular and unchanged.

    Raises:
        StageError: as in `read_adapter` and `check_files`.
    """
    adapter = read_adapter(folder)
    check_files(adapter)
    return adapter


def find_base(adapter: Adapter, given: Path | None) -> Path:
    """Return the folder of an adapter's base model.

    The adapter does not decide what is fetched: that is the catalogue's model of the name, at a
    revision of the catalogue. Nor does it bring its base along: the folder that it was trained on
    is used only where it is neither inside the adapter's folder nor beside it.

    Args:
        adapter: the adapter.
        given: the folder that the user names; None looks where it was, then in the catalogue.

    Raises:
        StageError: it is another model, or it cannot be found.
        EnvironmentFault: it cannot be fetched.
    """
    base = given or _recorded_base(adapter) or _catalogue_base(adapter)
    check_base(adapter, base)
    return base


def load_adapted(
    adapter: Adapter, base: Path, *, base_only: bool = False, device: str = "cpu"
) -> tuple[Any, Any]:
    """Return base and adapter as one model, and the adapter's tokenizer.

    Args:
        adapter: as from `open_adapter`.
        base: folder of its base model.
        base_only: leave the adapter's weights out.
        device: that the model is loaded onto, in the dtype of the base's weights.

    Raises:
        StageError: the adapter is not plain LoRA, does not fit its base, or was changed.
        InputError: the base's folder is refused, as in `load_model`.
    """
    from peft import PeftModel

    with verified_copy(adapter) as folder:
        check_lora(folder)
        placement = {} if device == "cpu" else {"device_map": {"": device}}
        model = load_model(base, dtype="auto", **placement)
        if not base_only:
            try:
                options: dict[str, Any] = {"use_safetensors": True, "torch_device": device}
                options["local_files_only"] = LOCAL["local_files_only"]
                model = PeftModel.from_pretrained(model, folder, **options)
            except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
                reason = " ".join(str(error).split())[:500]
                raise StageError(f"{folder}: does not fit its base: {reason}") from None
        return model.eval(), load_tokenizer(folder)


def device_with_room(base: Path) -> str:
    """Return the GPU if there is one with room for a base model's weights, or the CPU.

    Args:
        base: folder of the base model; half as much again is kept free for a batch.
    """
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    size = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    return "cuda" if 1.5 * size < torch.cuda.mem_get_info()[0] else "cpu"


def _recorded_base(adapter: Adapter) -> Path | None:
    base, own = adapter.base, adapter.folder.resolve()
    if not base.is_absolute() or not base.is_dir():
        return None
    came_along = base.resolve().parent == own.parent or base.resolve().is_relative_to(own)
    return None if came_along else base


def _catalogue_base(adapter: Adapter) -> Path:
    revision = str(read_provenance(adapter.folder).get("revision"))
    weights = None
    if adapter.model in MODELS:
        weights = catalogue_weights(MODELS[adapter.model], revision)
    if weights is None:
        raise StageError(
            f"{adapter.folder}: its base model {adapter.model!r} cannot be found: "
            f"{str(adapter.base)!r} is absent or came with the adapter, and the catalogue does not "
            "have it at the adapter's revision; name its folder (`medsweep adapters` takes --base)"
        )
    return fetch_weights(weights)


def more_than_lora(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration of PEFT that plain LoRA does not have.

    Other fields import modules by name, ask the hub, allocate at will, or change what the matrices
    mean. The scale may be that of rsLoRA.
    """
    more = {
        name: value
        for name, value in config.items()
        if name not in LORA_FIELDS
        and value
        and value != LORA_DEFAULTS.get(name)
        and not (name in LORA_CHOICES and LORA_CHOICES[name](value))
    }
    kind = config.get("peft_type", "LORA")
    return more if kind == "LORA" else {**more, "peft_type": kind}


def check_lora(folder: Path) -> None:
    """Check that an adapter is plain LoRA, with the rank of its weights.

    Raises:
        StageError: it is more than that, or its rank is not that of its weights.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS_FILE, "pt") as weights:
            names = [name for name in weights.keys() if ".lora_A." in name]  # noqa: SIM118
            ranks = {weights.get_slice(name).get_shape()[0] for name in names}
    except (OSError, ValueError, RecursionError, IndexError, SafetensorError) as error:
        raise StageError(f"{folder}: not an adapter of PEFT: {error}") from None
    fields = config if isinstance(config, dict) else {}
    more = sorted(more_than_lora(fields))
    targets = fields.get("target_modules")
    if "peft_type" not in fields or not isinstance(targets, list) or not _are_names(targets):
        more.append("peft_type or target_modules")
    if more:
        raise StageError(f"{path}: only plain LoRA is loaded, and this sets {', '.join(more)}")
    if ranks != {fields.get("r")}:
        raise StageError(f"{path}: rank {fields.get('r')!r}, but the weights have {sorted(ranks)}")
