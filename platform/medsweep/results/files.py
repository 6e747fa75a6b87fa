"""Where the files of results are: a folder, that of a `benchmark.parquet`, or an object store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from medsweep.results.object_store import RemoteStore

BENCHMARK_FILE = "benchmark.parquet"

Find = Callable[[str], Path | None]
"""Gives the local path of a result file by its name, such as `cells/<key>/responses.parquet`."""


def result_files(path: str | Path) -> Find:
    """Return how to find the files of results.

    Args:
        path: a folder, its `benchmark.parquet`, or the URL of a folder in an object store.

    Raises:
        EnvironmentFault: the object store does not answer.
    """
    if "://" in str(path):
        return _remote_files(str(path))
    local = Path(path)
    if local.is_dir():
        return _local_files(local)
    beside = _local_files(local.parent)
    return lambda name: local if name == BENCHMARK_FILE else beside(name)


def _local_files(folder: Path) -> Find:
    def find(name: str) -> Path | None:
        path = folder / name
        return path if path.exists() else None

    return find


def _remote_files(url: str) -> Find:
    """Return how to fetch files of a sweep's folder in an object store, each once."""
    store = RemoteStore(url)
    scratch = tempfile.TemporaryDirectory(prefix="medsweep-")

    def find(name: str) -> Path | None:
        path = Path(scratch.name, name)
        if not path.exists():
            if "/" in name:
                store.fetch(name.rpartition("/")[0], path.parent)
            elif path.suffix:
                store.fetch_file(name, path)
        return path if path.exists() else None

    return find
