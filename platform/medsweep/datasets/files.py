"""Read the rows of a local file, or of a folder of files of one kind."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from medsweep.errors import DatasetError, cause_of
from medsweep.json_lines import numbered_lines, parse

Rows = Iterator[tuple[str, Any]]
"""Place and row; a row that cannot be read is not a dictionary."""

KINDS = ".jsonl, .json, .csv (also with .gz) or .parquet"


def local_rows(path: Path) -> Rows:
    """Yield the rows of a file, or of all files of a folder in the order of their names.

    Raises:
        DatasetError: there is no such file, it cannot be read, or is not well-formed.
    """
    if path.is_dir():
        for file in _parts(path):
            for place, row in local_rows(file):
                yield f"{file.relative_to(path)}, {place}", row
        return
    if not path.exists():
        raise DatasetError(f"dataset.path: {path}: no such file")
    if not path.is_file():
        raise DatasetError(
            f"dataset.path: {path}: a pipe or device, which cannot be read twice; "
            "write its content to a file"
        )
    try:
        yield from _reader(path)(path)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise DatasetError(f"dataset.path: {path}: cannot be read: {cause_of(error)}") from None


def _parts(folder: Path) -> list[Path]:
    """Return the data files below a folder, such as Spark writes."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and _suffix(path) in _READERS
        and not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    )
    kinds = {_suffix(path) for path in files}
    if len(kinds) != 1:
        found = f"files of several kinds ({', '.join(sorted(kinds))})" if kinds else "no data file"
        raise DatasetError(
            f"dataset.path: {folder}: {found} in this folder; give a file, or a folder with files "
            f"of one kind: {KINDS}"
        )
    return files


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _reader(path: Path) -> Callable[[Path], Rows]:
    if _suffix(path) not in _READERS or path.name.endswith(".parquet.gz"):
        raise DatasetError(f"dataset.path: {path}: unknown file type; give {KINDS}")
    return _READERS[_suffix(path)]


def open_binary(path: Path) -> IO[bytes]:
    """Open a file to be read; one whose name ends with .gz is unpacked."""
    return gzip.open(path) if path.name.endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _json_lines(path: Path) -> Rows:
    with open_binary(path) as file:
        for number, line in numbered_lines(file):
            line.decode()  # a file in another encoding is one fault, not one of each line
            try:
                yield f"line {number}", parse(line)
            except ValueError:
                yield f"line {number}", None


def _json(path: Path) -> Rows:
    """Yield the entries of one JSON list or of an object of objects; else the lines of the file."""
    with open_binary(path) as file:
        content = file.read().decode("utf-8-sig")
    by_id = _objects_by_id(content)
    if by_id is None and not content.lstrip().startswith("["):
        yield from _json_lines(path)
        return
    for number, row in enumerate(parse(content) if by_id is None else by_id, start=1):
        yield f"entry {number}", row


def _objects_by_id(content: str) -> list[Any] | None:
    """Return the objects of one object, as PubMedQA has them by article; None for other JSON."""
    if not content.lstrip().startswith("{"):
        return None
    try:
        value = parse(content)
    except ValueError:
        return None  # several lines of JSON
    objects = list(value.values())
    return objects if objects and all(isinstance(each, dict) for each in objects) else None


def _csv(path: Path) -> Rows:
    csv.field_size_limit(sys.maxsize)  # 128 KiB by default, which a long text exceeds
    with open_binary(path) as file:
        text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        header: list[str] | None = None
        start = 1
        try:
            for cells in reader:
                if header is None:
                    header = _header(path, cells, start)
                elif cells:
                    yield f"line {start}", _row(path, header, cells, start, reader.line_num)
                start = reader.line_num + 1
        except csv.Error as error:
            raise DatasetError(
                f"dataset.path: {path}: line {start}: a quotation mark in the row that begins here "
                f"is not closed, or not doubled within a text ({error})"
            ) from None


def _header(path: Path, cells: list[str], line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        places = [str(at) for at, name in enumerate(names, start=1) if name == twice[0]]
        raise DatasetError(
            f"dataset.path: {path}: line {line}: the header names {twice[0]!r} in columns "
            f"{' and '.join(places)}; give each column a name of its own"
        )
    return names


def _row(
    path: Path, header: list[str], cells: list[str], start: int, end: int
) -> Mapping[str, Any]:
    # Spreadsheets end rows with empty cells.
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    if len(cells) != len(header):
        lines = f"line {start}" if start == end else f"lines {start} to {end}"
        many = len(cells) > len(header)
        reason = "a text with a comma needs quotation marks" if many else "a cell is missing"
        raise DatasetError(
            f"dataset.path: {path}: {lines}: {len(cells)} cells, and the header has {len(header)}: "
            f"{reason}"
        )
    return {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


_READERS: Mapping[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
