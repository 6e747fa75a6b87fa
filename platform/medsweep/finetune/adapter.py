"""The adapter folder, as it is read: LoRA weights with all that is needed to use them.

Adapters come from other people. Reading one runs no code, asks no hub and fetches nothing; whatever
is wrong with it is a StageError.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medsweep.errors import StageError
from medsweep.models.templates import TEMPLATES
from medsweep.models.weights import file_sha256

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
TRAINING_FILE = "training.parquet"
PROVENANCE_FILE = "provenance.json"
CARD_FILE = "adapter.json"
"""Written last: only a complete folder has it."""

MAX_CARD_BYTES = 2**20
PROBE_BYTES = 2**20

HUB_ENTRIES = (".cache", ".gitattributes")
"""What the hub and its client add to a folder; nothing reads them here."""


@dataclass(frozen=True)
class Adapter:
    """What `adapter.json` says of an adapter, and where its folder is.

    Attributes:
        folder: of the adapter.
        model: name of the base model.
        base: folder of the base model's weights when it was trained.
        template: name of the prompt template.
        stop_tokens: special tokens that end an answer.
        sha256: hash of the LoRA weights; the identity of the adapter.
        base_sha256: identity of the base model's weights; None in a folder that does not say.
        files: hash of every other file, by name.
    """

    folder: Path
    model: str
    base: Path
    template: str
    stop_tokens: tuple[str, ...]
    sha256: str
    base_sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


_ADAPTER = TypeAdapter(Adapter)


def parse_card(text: bytes, folder: Path) -> Adapter:
    """Return an adapter by the content of its `adapter.json`; no other file is opened.

    Args:
        text: the content.
        folder: of the adapter; errors name it.

    Raises:
        StageError: it is not the content of an `adapter.json`.
    """
    try:
        fields = json.loads(text)
        adapter = _ADAPTER.validate_python({**fields, "folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _incomplete(folder, f"{CARD_FILE}: {where}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _incomplete(folder, f"{CARD_FILE}: {error}") from None
    if not f"{adapter.model}{adapter.base}{adapter.sha256}{adapter.base_sha256}".isprintable():
        raise _incomplete(folder, f"{CARD_FILE}: control characters in a name or a hash")
    if adapter.template not in TEMPLATES:
        raise _incomplete(folder, f"{CARD_FILE}: unknown template {adapter.template!r}")
    unsafe = sorted(name for name in adapter.files if not _is_plain(name))
    if unsafe:
        raise _incomplete(folder, f"{CARD_FILE}: {unsafe[0]!r} is not the name of a file in it")
    return adapter


def read_card(folder: Path) -> Adapter:
    """Return an adapter by its `adapter.json`; its weights are not read.

    Raises:
        StageError: there is no `adapter.json`, or none that can be used.
    """
    path = folder / CARD_FILE
    try:
        if path.is_file() and path.stat().st_size <= MAX_CARD_BYTES:
            return parse_card(path.read_bytes(), folder)
    except OSError as error:
        raise _incomplete(folder, f"{CARD_FILE}: {error.strerror}") from None
    raise _incomplete(
        folder, f"no {CARD_FILE}; `medsweep adapters list FOLDER` finds the adapters in a folder"
    )


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter folder and check its weights.

    Raises:
        StageError: the folder is not a complete adapter, its weights are not those that were saved,
            or its base model's folder now holds another model.
    """
    adapter = read_card(folder)
    if (folder / WEIGHTS_FILE).exists() and not (folder / WEIGHTS_FILE).is_file():
        raise _incomplete(folder, f"{WEIGHTS_FILE}: not a file")  # a pipe would be read for ever
    try:
        actual = file_sha256(folder / WEIGHTS_FILE)
    except OSError as error:
        raise _incomplete(folder, f"{WEIGHTS_FILE}: {error.strerror}") from None
    if actual != adapter.sha256:
        raise StageError(
            f"{folder / WEIGHTS_FILE}: the weights are not those that were saved "
            f"(sha256 {actual[:12]}, expected {adapter.sha256[:12]}); "
            "delete the folder and run again"
        )
    if adapter.base_sha256 is not None and adapter.base.is_dir():
        check_base(adapter, adapter.base)
    return adapter


def check_base(adapter: Adapter, base: Path) -> None:
    """Check that a folder holds the base model that an adapter was trained on.

    Raises:
        StageError: it holds another model or none, or the adapter does not say which it was.
    """
    expected, actual = adapter.base_sha256, base_sha256(base)
    if expected is None:
        raise _incomplete(adapter.folder, f"{CARD_FILE}: no base_sha256")
    if actual != expected:
        there = f"another model ({actual[:12]})" if actual else "no model"
        raise StageError(
            f"{adapter.folder}: the adapter was trained on {adapter.model} ({expected[:12]}), but "
            f"{base} holds {there}; on other weights its answers mean nothing"
        )


def check_regular(folder: Path) -> list[Path]:
    """Return the files of an adapter's folder, without what the hub's client adds.

    Raises:
        StageError: there is a link, which may lead to a file of others, or a pipe or a folder.
    """
    paths = [path for path in folder.iterdir() if path.name not in HUB_ENTRIES]
    odd = sorted(path.name for path in paths if path.is_symlink() or not path.is_file())
    if odd:
        raise StageError(f"{folder}: not regular files: {', '.join(map(repr, odd))}; remove them")
    return paths


def check_files(adapter: Adapter) -> list[Path]:
    """Check every file of an adapter against the hashes in `adapter.json`, and return them all.

    Returns:
        The files, `adapter.json` last.

    Raises:
        StageError: a file is changed, missing, not listed, or not a regular file.
    """
    folder, expected = adapter.folder, adapter.files
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        if name not in expected:
            raise _incomplete(folder, f"{CARD_FILE}: `files` does not list {name}")
    entries = {path.name: path for path in check_regular(folder)}
    unlisted = sorted(entries.keys() - expected.keys() - {CARD_FILE})
    if unlisted:
        raise StageError(
            f"{folder}: {CARD_FILE} does not list {', '.join(map(repr, unlisted))}; remove them"
        )
    changed = sorted(
        name
        for name, digest in expected.items()
        if name not in entries or file_sha256(entries[name]) != digest
    )
    if changed:
        raise StageError(f"{folder}: changed or missing: {', '.join(changed)}")
    return [entries[name] for name in sorted(expected)] + [folder / CARD_FILE]


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return what an adapter was made from and with.

    Raises:
        StageError: `provenance.json` is missing or damaged.
    """
    try:
        provenance = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _incomplete(folder, f"{PROVENANCE_FILE}: {error}") from None
    if not isinstance(provenance, dict):
        raise _incomplete(folder, f"{PROVENANCE_FILE}: not a JSON object")
    return provenance


def read_training(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of an adapter's `training.parquet`: one per epoch.

    Raises:
        StageError: the file is missing, damaged or empty.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(folder / TRAINING_FILE).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _incomplete(folder, f"{TRAINING_FILE}: {error}") from None
    if not rows or not {"epoch", "eval_loss"} <= rows[-1].keys():
        raise _incomplete(folder, f"{TRAINING_FILE}: no rows of epochs")
    return rows


def base_sha256(folder: Path) -> str | None:
    """Return an identity of a base model's weights, quickly even for many gigabytes.

    It covers the size, the first MiB (names and shapes of the tensors, then values) and the last
    MiB of each file of weights: two models of one architecture differ in them.

    Args:
        folder: of the base model; None is returned where it holds no weights.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as opened:
            digest.update(opened.read(PROBE_BYTES))
            opened.seek(max(0, size - PROBE_BYTES))
            digest.update(opened.read(PROBE_BYTES))
    return digest.hexdigest() if files else None


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) is not None and name != CARD_FILE


def _incomplete(folder: Path, reason: str) -> StageError:
    return StageError(
        f"{folder}: not a complete adapter ({' '.join(reason.split())[:300]}); fetch it again, or "
        "delete the folder and run again"
    )
