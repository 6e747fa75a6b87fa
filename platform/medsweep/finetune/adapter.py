"""The adapter folder, as it is read: LoRA weights with all that is needed to use them.

Adapters come from other people. Reading one runs no code, asks no hub and fetches nothing; whatever
is wrong with it is a StageError.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medsweep.errors import StageError, cause_of
from medsweep.models.templates import TEMPLATES

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
TRAINING_FILE = "training.parquet"
PROVENANCE_FILE = "provenance.json"
CARD_FILE = "adapter.json"
"""Written last: only a complete folder has it."""

MAX_CARD_BYTES = 2**20
PROBE_BYTES = 2**20


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
        links: whether its files may be links; only its operator may say so, not `adapter.json`.
    """

    folder: Path
    model: str
    base: Path
    template: str
    stop_tokens: tuple[str, ...]
    sha256: str
    base_sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    links: bool = False


_ADAPTER = TypeAdapter(Adapter)


@contextmanager
def open_regular(folder: Path, name: str, *, links: bool = False) -> Iterator[BufferedReader]:
    """Open a file of a folder, unless it is a pipe, which would be waited for, or a device.

    Args:
        folder: of the file.
        name: of the file, without a folder.
        links: whether it may be a link.

    Raises:
        OSError: it is missing or not a regular file.
    """
    more = os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def opener(path: str, flags: int) -> int:
        try:
            return os.open(path, flags | more, dir_fd=directory)
        except OSError as error:
            error.strerror = "a link" if error.errno == errno.ELOOP else error.strerror
            raise

    try:
        with open(name, "rb", opener=opener) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a file")
            yield opened
    finally:
        os.close(directory)


def card_text(folder: Path, *, links: bool = False) -> bytes:
    """Return the content of an adapter's `adapter.json`.

    Args:
        folder: of the adapter.
        links: whether the file may be a link.

    Raises:
        StageError: there is none, or it is too long.
    """
    try:
        with open_regular(folder, CARD_FILE, links=links) as card:
            text = card.read(MAX_CARD_BYTES + 1)
        if len(text) <= MAX_CARD_BYTES:
            return text
        reason = f"{CARD_FILE}: more than {MAX_CARD_BYTES} bytes"
    except (FileNotFoundError, NotADirectoryError):
        reason = f"no {CARD_FILE}; `medsweep adapters list FOLDER` finds the adapters in a folder"
    except OSError as error:
        reason = f"{CARD_FILE}: {error.strerror}"
    raise incomplete(folder, reason)


def parse_card(text: bytes, folder: Path, *, links: bool = False) -> Adapter:
    """Return an adapter by the content of its `adapter.json`; no other file is opened.

    Args:
        text: the content.
        folder: of the adapter; errors name it.
        links: whether its files may be links.

    Raises:
        StageError: it is not the content of an `adapter.json`.
    """
    try:
        fields = json.loads(text)
        adapter = _ADAPTER.validate_python({**fields, "folder": folder, "links": links})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise incomplete(folder, f"{CARD_FILE}: {where}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise incomplete(folder, f"{CARD_FILE}: {error}") from None
    if not f"{adapter.model}{adapter.base}{adapter.sha256}{adapter.base_sha256}".isprintable():
        raise incomplete(folder, f"{CARD_FILE}: control characters in a name or a hash")
    if adapter.template not in TEMPLATES:
        raise incomplete(folder, f"{CARD_FILE}: unknown template {adapter.template!r}")
    unsafe = sorted(name for name in adapter.files if not _is_plain(name))
    if unsafe:
        raise incomplete(folder, f"{CARD_FILE}: {unsafe[0]!r} is not the name of a file in it")
    return adapter


def read_card(folder: Path, *, links: bool = False) -> Adapter:
    """Return an adapter by its `adapter.json`; its weights are not read.

    Args:
        folder: of the adapter.
        links: whether its files may be links, such as those of the hub's cache.

    Raises:
        StageError: there is no `adapter.json`, or none that can be used.
    """
    return parse_card(card_text(folder, links=links), folder, links=links)


def read_adapter(folder: Path, *, links: bool = False) -> Adapter:
    """Read an adapter folder and check its weights.

    Args:
        folder: of the adapter.
        links: whether its files may be links, such as those of the hub's cache.

    Raises:
        StageError: the folder is not a complete adapter, its weights are not those that were saved,
            or its base model's folder now holds another model.
    """
    adapter = read_card(folder, links=links)
    try:
        with open_regular(folder, WEIGHTS_FILE, links=links) as weights:
            actual = hashlib.file_digest(weights, "sha256").hexdigest()
    except OSError as error:
        raise incomplete(folder, f"{WEIGHTS_FILE}: {error.strerror}") from None
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
        raise incomplete(adapter.folder, f"{CARD_FILE}: no base_sha256")
    if actual != expected:
        there = f"another model ({actual[:12]})" if actual else "no model"
        raise StageError(
            f"{adapter.folder}: the adapter was trained on {adapter.model} ({expected[:12]}), but "
            f"{base} holds {there}; on other weights its answers mean nothing"
        )


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return what an adapter was made from and with.

    Raises:
        StageError: `provenance.json` is missing or damaged.
    """
    try:
        provenance = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise incomplete(folder, f"{PROVENANCE_FILE}: {cause_of(error)}") from None
    if not isinstance(provenance, dict):
        raise incomplete(folder, f"{PROVENANCE_FILE}: not a JSON object")
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
        raise incomplete(folder, f"{TRAINING_FILE}: {cause_of(error)}") from None
    if not rows or not {"epoch", "eval_loss"} <= rows[-1].keys():
        raise incomplete(folder, f"{TRAINING_FILE}: no rows of epochs")
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


def incomplete(folder: Path, reason: str) -> StageError:
    """Return the fault of a folder that is not a complete adapter."""
    if not folder.exists():
        return StageError(
            f"{folder}: no such folder; `medsweep adapters list FOLDER` finds those below one"
        )
    return StageError(
        f"{folder}: not a complete adapter ({' '.join(reason.split())[:300]}); fetch it again, or "
        "delete the folder and run again"
    )
