"""Atomic files: Parquet, JSON and text are written aside, and renamed when complete."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medsweep.errors import EnvironmentFault
from medsweep.results.column import Column
from medsweep.results.schema import arrow_schema


def write_rows(path: Path, columns: Iterable[Column], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a Parquet file.

    Args:
        path: the file.
        columns: its schema; columns that a row lacks are null.
        rows: what to write.

    Raises:
        ValueError: a row has a column that is not in the schema.
        EnvironmentFault: no space, or no permission.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(columns)
    plain = []
    for row in rows:
        unknown = set(row) - set(schema.names)
        if unknown:
            raise ValueError(f"{path.name}: no such column: {', '.join(sorted(unknown))}")
        # pyarrow takes a map as a list of pairs.
        plain.append({k: list(v.items()) if isinstance(v, dict) else v for k, v in row.items()})
    table = pa.Table.from_pylist(plain, schema=schema)
    _replace(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file; a map comes back as a dictionary.

    Args:
        path: the file.
        columns: what to read; None reads all.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=None if columns is None else list(columns))
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return rows


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file.

    Raises:
        EnvironmentFault: no space, or no permission.
    """
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        EnvironmentFault: no space, or no permission.
    """
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file.

    Raises:
        EnvironmentFault: no space, or no permission.
    """
    _replace(path, lambda temporary: temporary.write_bytes(content))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None if the file is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@contextmanager
def private(folder: Path, *, applies: bool) -> Iterator[None]:
    """Let only this user read a folder, and every file that is created meanwhile.

    That includes files in the cache and files of processes that are started meanwhile.

    Args:
        folder: created if it is missing.
        applies: whether the data is not public; otherwise nothing changes.

    Raises:
        EnvironmentFault: the folder cannot be created, or belongs to another user.
    """
    if not applies:
        yield
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)  # holds other results too
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise _fault(folder, error) from None
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock a folder for one run; the kernel releases the lock if the process is killed.

    Raises:
        EnvironmentFault: another run has locked it, or it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    except OSError as error:
        raise _fault(folder, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EnvironmentFault(
                f"{folder}: another run of this sweep uses it; wait until it ends, or set --out"
            ) from None
        yield


@contextmanager
def updating(path: Path) -> Iterator[None]:
    """Hold a file while it is read, changed and written; another process waits until that is done.

    Args:
        path: the file, which need not be there.

    Raises:
        EnvironmentFault: its folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("a+")
    except OSError as error:
        raise _fault(path, error) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def aside(path: Path) -> Path:
    """Return the name under which a file is written before it is renamed; no other writer has it.

    Args:
        path: the file.
    """
    # Threads of one process, and pods that share a volume, may have the same process id.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _fault(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fault(path: Path, error: OSError) -> EnvironmentFault:
    advice = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "; free some space and run the same command again: measurements so far are kept"
    return EnvironmentFault(f"{path}: cannot be written: {error.strerror or error}{advice}")
