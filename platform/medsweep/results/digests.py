"""Which files a folder holds, each with its size and hash."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

Digests = dict[str, dict[str, int | str]]


def digests(folder: Path, *, besides: Collection[str] = ()) -> Digests:
    """Return size (bytes) and SHA-256 of each file below a folder, by its relative path.

    Args:
        folder: what to read; names that begin with a dot are temporary, and left out.
        besides: names in the folder to leave out.
    """
    found: Digests = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[0] in besides or any(part.startswith(".") for part in parts):
            continue
        if path.is_file():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            found["/".join(parts)] = {"bytes": path.stat().st_size, "sha256": sha256}
    return found


def differing(folder: Path, wanted: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the files of a folder that are not as they were written, or are not there."""
    there = digests(folder)
    return [name for name, digest in wanted.items() if there.get(name) != dict(digest)]
