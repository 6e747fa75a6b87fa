"""What identifies the things that an adapter is made from: code, base model, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medsweep
from medsweep.models.weights import file_sha256

PROBE_BYTES = 2**20


def code_sha256() -> str:
    """Return the hash of the package's Python files, in the order of their names."""
    root = Path(medsweep.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def json_sha256(value: Mapping[str, Any]) -> str:
    """Return the hash of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def files_sha256(folder: Path) -> dict[str, str]:
    """Return the hash of each file of a folder, by name."""
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def base_sha256(folder: Path) -> str | None:
    """Return what tells a base model from others, in a moment also for many gigabytes.

    Of each file of weights it takes the size, the first MiB (names and shapes of the tensors, then
    values) and the last MiB: two models of one architecture differ in them.

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
