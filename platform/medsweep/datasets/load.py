"""Read question-answer pairs from the embedded corpus, a local file or the hub, and clean them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from medsweep.datasets import embedded
from medsweep.datasets.spec import DatasetSpec, Pair
from medsweep.errors import DatasetError

MEDQUAD_HUB_ID = "lavita/MedQuAD"


@dataclass
class Loaded:
    """Pairs that can be used, and what became of the other rows.

    Attributes:
        pairs: in the order of the source.
        rows: rows that the source held.
        dropped: number of rows dropped, by reason.
        examples: for each reason, where the first such row stands ("line 17").
    """

    pairs: list[Pair] = field(default_factory=list)
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, reason: str, where: str) -> None:
        """Count one row as dropped."""
        self.dropped[reason] += 1
        self.examples.setdefault(reason, where)

    def summary(self) -> str:
        """Return one line: how many pairs, and what was dropped with the place of the first."""
        reasons = ", ".join(
            f"{count} {reason} (first: {self.examples[reason]})"
            for reason, count in sorted(self.dropped.items())
        )
        return f"{len(self.pairs)} pairs of {self.rows} rows" + (
            f"; dropped {reasons}" if reasons else ""
        )


def load_pairs(spec: DatasetSpec) -> Loaded:
    """Read and clean the pairs of a dataset.

    Args:
        spec: which dataset, and the rules.

    Returns:
        The usable pairs and the counts of dropped rows.

    Raises:
        DatasetError: the source is missing or unreadable, has no such column, leaves no pair, or
            more than `max_unusable_fraction` of its rows are unreadable or empty.
    """
    loaded = Loaded()
    seen: set[str] = set()
    columns: dict[str, None] = {}
    for where, row in _rows(spec):
        loaded.rows += 1
        columns |= dict.fromkeys(row if isinstance(row, dict) else ())
        pair = _pair(spec, row, where, loaded)
        if pair is None:
            continue
        if pair.question_id in seen:
            loaded.drop("duplicate", where)
            continue
        seen.add(pair.question_id)
        loaded.pairs.append(pair)
    source = spec.path or spec.name
    for column in (spec.question_column, spec.answer_column):
        # A column that no row has is a wrong column name; one that some row lacks is a dirty row.
        if columns and column not in columns:
            raise DatasetError(
                f"{source}: no row has a column {column!r}; the columns are "
                f"{', '.join(map(str, columns))}; "
                "set dataset.question_column and dataset.answer_column"
            )
    unusable = loaded.dropped["unreadable"] + loaded.dropped["empty"]
    if loaded.rows and unusable / loaded.rows > spec.max_unusable_fraction:
        raise DatasetError(
            f"{source}: {unusable} of {loaded.rows} rows are unreadable or empty, more than "
            f"dataset.max_unusable_fraction = {spec.max_unusable_fraction}: {loaded.summary()}"
        )
    if not loaded.pairs:
        raise DatasetError(f"{source}: no usable pair: {loaded.summary()}")
    return loaded


def _pair(spec: DatasetSpec, row: Any, where: str, loaded: Loaded) -> Pair | None:
    """Return one cleaned pair, or count why the row cannot be one."""
    if not isinstance(row, dict):
        loaded.drop("unreadable", where)
        return None
    question = clean(row.get(spec.question_column))
    answer = clean(row.get(spec.answer_column))
    if not question or not answer:
        # Two thirds of MedQuAD's answers were withdrawn by their publisher; that is not dirt.
        withheld = spec.name == "medquad" and question
        loaded.drop("withheld" if withheld else "empty", where)
        return None
    if spec.max_answer_words is not None and len(answer.split()) > spec.max_answer_words:
        loaded.drop("over-long", where)
        return None
    digest = hashlib.sha256(f"{question}\0{answer}".encode()).hexdigest()[:16]
    kind = row.get("question_type")
    return Pair(digest, question, answer, str(kind) if kind else None)


def clean(value: object) -> str:
    """Return text with white space folded and MedQuAD's doubled question marks ("X ? ?") mended."""
    if not isinstance(value, str):
        return ""
    text = " ".join(value.split())
    return re.sub(r"\s*\?(\s*\?)*$", "?", text)


def _rows(spec: DatasetSpec) -> Iterator[tuple[str, Any]]:
    """Yield (where it stands, row) of the source."""
    if spec.name == "embedded":
        yield from embedded.rows()
    elif spec.path is None:
        yield from _hub_rows(MEDQUAD_HUB_ID)
    else:
        path = Path(spec.path).expanduser()
        if not path.is_file():
            raise DatasetError(f"dataset.path: {path}: no such file")
        try:
            yield from _file_rows(path)
        except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
            raise DatasetError(f"dataset.path: {path}: cannot be read: {error}") from None


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
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
            f"dataset.path: {path}: unknown kind of file; give .jsonl, .jsonl.gz, .csv or .parquet"
        )


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError:
                yield f"line {number}", None


def _hub_rows(hub_id: str) -> Iterator[tuple[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise DatasetError(
            f"dataset {hub_id} comes from the hub, which needs `pip install medsweep[hub]`; "
            "or give a local copy with --set dataset.path=FILE"
        ) from None
    try:
        table = datasets.load_dataset(hub_id, split="train")
    except Exception as error:  # noqa: BLE001 the hub client raises whatever its layers raise
        raise DatasetError(
            f"dataset {hub_id} cannot be had from the hub ({type(error).__name__}); "
            "give a local copy with --set dataset.path=FILE"
        ) from None
    for number, row in enumerate(table, start=1):
        yield f"row {number}", row
