"""Size and hash of every file in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

Digests = dict[str, dict[str, int | str]]


def digests(folder: Path, *, besides: Collection[str] = ()) -> Digests:
    """Return size (bytes) and SHA-256 of each regular file below a folder, by its relative path.

    Links are left out: what they lead to is not part of the folder.

    Args:
        folder: what to read; names that begin with a dot are temporary, and are left out.
        besides: other names in the folder to leave out.
    """
    files: Digests = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if parts[0] in besides or any(part.startswith(".") for part in parts):
            continue
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            files["/".join(parts)] = {"bytes": path.stat().st_size, "sha256": sha256}
    return files


def differing(folder: Path, expected: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the expected files of a folder that differ or are missing."""
    present = digests(folder)
    return [name for name, digest in expected.items() if present.get(name) != dict(digest)]
