"""The cache: folders that are built or fetched once, and hashes of their files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_root() -> Path:
    """Return the cache: MEDSWEEP_CACHE, or `medsweep` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "medsweep"
    return Path(os.environ.get("MEDSWEEP_CACHE", default)).expanduser().absolute()


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Build a folder under a lock and rename it into place, so that it is complete or absent."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as building:
                built = Path(building) / "model"
                built.mkdir()
                build(built)
                built.rename(folder)
    return folder


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
