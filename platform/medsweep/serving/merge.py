"""Merge an adapter into a copy of its base: a folder of plain transformers, without LoRA."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsweep.errors import InputError, StageError
from medsweep.finetune.adapted import check_lora
from medsweep.finetune.adapter import (
    CONFIG_FILE,
    TRAINING_FILE,
    WEIGHTS_FILE,
    Adapter,
    base_sha256,
    check_base,
)
from medsweep.finetune.adapter_copy import verified_copy
from medsweep.models.cache import build_once, cache_root
from medsweep.models.loading import LOCAL, check_model_folder
from medsweep.serving.engines.low_rank import LowRankPair, read_pairs, shape_of
from medsweep.serving.protocol import EngineSettings

LEFT_OUT = (WEIGHTS_FILE, CONFIG_FILE, TRAINING_FILE)
"""Files of an adapter that a merged model has no use for."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
GENERATION = "generation_config.json"
MARKER = "merged.json"


def merge(adapter: Adapter, base: Path, out: Path, dtype: str | None = None) -> None:
    """Write base and adapter as one model; renamed into place when complete.

    Sums are computed in float32, one tensor at a time: it takes the memory of one file of weights.

    Args:
        adapter: the adapter; only files that have its hashes are used.
        base: folder of its base model.
        out: where the merged model will be.
        dtype: of the written weights; None keeps the base's.

    Raises:
        InputError: `out` exists, or as in `check_model_folder`.
        StageError: the adapter was changed, is not plain LoRA, or does not fit its base; or the
            base is quantized.
    """
    if out.exists():
        raise InputError(f"{out}: already exists; give another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="making-") as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        _write(adapter, base, made, dtype)
        made.rename(out)


def merged_folder(adapter: Adapter, base: Path, dtype: str) -> Path:
    """Return the folder of a merged model in the cache; it is merged where it is not there.

    Args:
        adapter: the adapter.
        base: folder of its base model.
        dtype: that it is served in.

    Raises:
        InputError, StageError: as in `merge`, or the cached weights were changed.
    """
    if adapter.base_sha256 is not None:
        check_base(adapter, base)
    parts = (base_sha256(base), adapter.sha256, adapter.files.get(CONFIG_FILE), dtype)
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def build(folder: Path) -> None:
        _write(adapter, base, folder, dtype)
        # Engines may read it, and must sample as they do from the base.
        (folder / GENERATION).unlink(missing_ok=True)
        if (base / GENERATION).is_file():
            shutil.copyfile(base / GENERATION, folder / GENERATION)
        (folder / MARKER).write_text(json.dumps({"base_sha256": base_sha256(folder)}))

    folder = build_once(cache_root() / "merged" / f"{adapter.model}-{key}", build)
    if json.loads((folder / MARKER).read_text())["base_sha256"] != base_sha256(folder):
        raise StageError(f"{folder}: the merged weights were changed; delete the folder")
    return folder


def merged_settings(settings: EngineSettings) -> EngineSettings:
    """Return the settings of an engine whose only adapter is merged into its base.

    The merged model has the adapter's name, template and stop tokens. The base is not served.

    Args:
        settings: with one adapter, and the dtype that is used on this machine.

    Raises:
        InputError, StageError: as in `merge`, or there is not exactly one adapter.
    """
    if len(settings.adapters) != 1:
        raise InputError(f"{len(settings.adapters)} adapters; only one can be merged into a base")
    [(name, adapter)] = settings.adapters.items()
    folder = merged_folder(adapter, settings.base or adapter.base, settings.dtype)
    model = replace(
        settings.model, name=name, template=adapter.template, stop_tokens=adapter.stop_tokens
    )
    return replace(settings, model=model, base=folder, adapters={}, max_adapters=0, max_rank=None)


def _write(adapter: Adapter, base: Path, folder: Path, dtype: str | None) -> None:
    import torch

    check_model_folder(base)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    if config.get("quantization_config"):
        raise StageError(
            f"{base}: its weights are quantized, so an adapter cannot be merged into them; take "
            "the model in its original dtype"
        )
    for path in base.iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja", ".model", ".txt"):
            shutil.copyfile(path, folder / path.name)
    (folder / INDEX).unlink(missing_ok=True)
    if dtype is not None:
        config = {name: value for name, value in config.items() if name != "torch_dtype"}
        (folder / "config.json").write_text(json.dumps(config | {"dtype": dtype}, indent=2))
    carried = sorted(name for name in adapter.files if name not in LEFT_OUT)
    with verified_copy(adapter, [WEIGHTS_FILE, CONFIG_FILE, *carried]) as copy:
        check_lora(copy)
        for name in carried:
            shutil.copyfile(copy / name, folder / name)
        pairs = read_pairs(copy)
        transposed = _transposed(base, adapter, pairs)
        with torch.inference_mode():
            _write_weights(base, adapter, folder, pairs, transposed, dtype)


def _write_weights(
    base: Path,
    adapter: Adapter,
    folder: Path,
    pairs: Mapping[str, LowRankPair],
    transposed: Mapping[str, bool],
    dtype: str | None,
) -> None:
    import torch
    from safetensors.torch import save_file

    left, files, size = dict(pairs), {}, 0
    for name, metadata, tensors in _weight_files(base):
        for key, tensor in tensors.items():
            layer = key.removesuffix(".weight")
            # Some files leave out the prefix that the model's class adds, such as `transformer.`
            place = next((each for each in left if f".{each}".endswith(f".{layer}")), None)
            merged, kept = tensor, tensor.dtype
            if place is not None and key != layer:
                pair = left.pop(place)
                change = pair.down @ pair.up
                merged = tensor.float() + (change if transposed[place] else change.T)
            if tensor.is_floating_point():
                merged = merged.to(kept if dtype is None else getattr(torch, dtype))
            tensors[key] = merged.contiguous()
            files[key], size = name, size + merged.numel() * merged.element_size()
        save_file(tensors, folder / name, metadata=metadata)
    if left:
        raise StageError(
            f"{adapter.folder}: does not fit its base: {base} has no weights of "
            f"{next(iter(left))}, which the adapter changes"
        )
    if len(set(files.values())) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": files}
        (folder / INDEX).write_text(json.dumps(index, indent=2))


def _weight_files(base: Path) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """Yield name, metadata and tensors of each file of weights, as transformers finds them."""
    from safetensors import safe_open

    if (base / WEIGHTS).is_file():
        names = [WEIGHTS]
    elif (base / INDEX).is_file():
        names = sorted(set(json.loads((base / INDEX).read_text())["weight_map"].values()))
    else:
        raise StageError(f"{base}: neither {WEIGHTS} nor {INDEX}")
    for name in names:
        if Path(name).name != name:
            raise StageError(f"{base / INDEX}: {name!r} is not the name of a file beside it")
        with safe_open(base / name, "pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            yield name, opened.metadata() or {"format": "pt"}, tensors


def _transposed(base: Path, adapter: Adapter, pairs: Mapping[str, LowRankPair]) -> dict[str, bool]:
    """Return of each changed layer whether its weights are [inputs, outputs], as GPT-2's are.

    Raises:
        StageError: the adapter does not fit the model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(base, **LOCAL)
        model = AutoModelForCausalLM.from_config(config)
    transposed = {}
    for place, pair in pairs.items():
        try:
            layer = model.get_submodule(place)
        except AttributeError:
            layer = None
        if shape_of(layer) != (len(pair.down), pair.up.shape[1]):
            raise StageError(
                f"{adapter.folder}: does not fit its base: {place} is no layer of {base} with "
                f"{len(pair.down)} inputs and {pair.up.shape[1]} outputs"
            )
        transposed[place] = hasattr(layer, "nf")
    return transposed
