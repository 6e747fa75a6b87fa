"""Where the cache is, and hashes of its files; building once is in `test_weights.py`."""

import hashlib
from pathlib import Path

import pytest

from medsweep.models.cache import cache_root, file_sha256


def test_cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSWEEP_CACHE", str(tmp_path / "cache"))
    assert cache_root() == tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDSWEEP_CACHE", "near")
    # Absolute: workers start in folders of their own.
    assert cache_root() == tmp_path / "near"
    monkeypatch.delenv("MEDSWEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_root() == Path("/var/cache/medsweep")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "medsweep"


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"weights" * 100_000)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"weights" * 100_000).hexdigest()
