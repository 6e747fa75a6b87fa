"""Read the rows of a source: the embedded corpus, a local file or the hub."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from medsweep.datasets import embedded
from medsweep.datasets.spec import SourceSpec
from medsweep.errors import DatasetError

COMMIT = re.compile("[0-9a-f]{40}")

Rows = Iterator[tuple[str, Any]]
"""Place and row; a row that cannot be read is not a dictionary."""


@dataclass(frozen=True)
class Opened:
    """An opened source.

    Attributes:
        rows: each with its place ("line 17").
        revision: commit on the hub; None for other sources.
    """

    rows: Rows
    revision: str | None = None


def open_source(source: SourceSpec) -> Opened:
    """Open a source.

    Raises:
        DatasetError: it is missing, unreadable, or cannot be fetched; also raised while iterating.
    """
    if source.path is not None:
        return Opened(_local_rows(Path(source.path).expanduser()))
    if source.entry.hub_id is not None:
        return _from_hub(source.entry.hub_id, source.revision or source.entry.revision or "main")
    return Opened(embedded.rows())


def _local_rows(path: Path) -> Rows:
    if not path.is_file():
        raise DatasetError(f"dataset.path: {path}: no such file")
    try:
        yield from _file_rows(path)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise DatasetError(f"dataset.path: {path}: cannot be read: {error}") from None


def _file_rows(path: Path) -> Rows:
    name = path.name
    if name.endswith((".jsonl", ".jsonl.gz")):
        opened: TextIO
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if name.endswith(".gz")
            else path.open(encoding="utf-8-sig") as opened
        ):
            yield from _json_rows(opened)
    elif name.endswith(".csv"):
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            for row in reader:
                yield f"line {reader.line_num}", row
    elif name.endswith(".parquet"):
        import pyarrow.parquet as pq

        for number, row in enumerate(pq.read_table(path).to_pylist(), start=1):
            yield f"row {number}", row
    else:
        raise DatasetError(
            f"dataset.path: {path}: unknown file type; give .jsonl, .jsonl.gz, .csv or .parquet"
        )


def _json_rows(lines: Iterable[str]) -> Rows:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError:
                yield f"line {number}", None


def _from_hub(hub_id: str, revision: str) -> Opened:
    try:
        import datasets
        from huggingface_hub import HfApi, constants
    except ImportError:
        raise DatasetError(
            f"dataset {hub_id} comes from the hub, which needs `pip install medsweep[hub]`; "
            "or give a local copy as its `path`, such as --set dataset.path=FILE"
        ) from None
    try:
        # The commit is recorded, also for a branch. If the hub does not answer, this fails at once,
        # where loading would try for half a minute. If the hub is off (HF_HUB_OFFLINE), the local
        # cache may have the commit.
        cached = constants.HF_HUB_OFFLINE and COMMIT.fullmatch(revision)
        commit = revision if cached else HfApi().dataset_info(hub_id, revision=revision).sha
        table = datasets.load_dataset(hub_id, split="train", revision=commit)
    except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
        raise DatasetError(
            f"dataset {hub_id} cannot be fetched from the hub ({type(error).__name__}); "
            "give a local copy as its `path`, such as --set dataset.path=FILE"
        ) from None
    rows = ((f"row {number}", row) for number, row in enumerate(table, start=1))
    return Opened(rows, commit)
