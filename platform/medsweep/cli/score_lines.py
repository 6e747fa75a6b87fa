"""The lines that `medsweep score` grades: those of a file or of rows, or a sample of them."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from medsweep.datasets.files import Rows, local_rows, open_binary
from medsweep.errors import InputError, cause_of


def read_lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file, which may be gzipped; of .json or .parquet a line per row.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    if file.suffix in (".json", ".parquet"):
        try:
            yield from row_lines(local_rows(file))
        except InputError as error:
            raise InputError(str(error).removeprefix("dataset.path: ")) from None
        return
    try:
        with open_binary(file) as lines:
            yield from lines
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read: {cause_of(error)}") from None


def row_lines(rows: Rows) -> Iterator[bytes]:
    """Yield each row as a line of JSON."""
    return (json.dumps(row, default=str).encode() for _, row in rows)


def sample_lines(lines: Iterable[bytes], count: int, seed: int) -> list[bytes]:
    """Return lines of which all but a sample are blank, so that each keeps its number.

    Args:
        lines: blank ones are never part of the sample.
        count: lines in the sample; all if there are fewer.
        seed: of the sample.
    """
    every = list(lines)
    filled = [number for number, line in enumerate(every) if line.strip()]
    rng = random.Random(seed)  # noqa: S311 no secret
    sample = set(rng.sample(filled, min(count, len(filled))))
    return [line if number in sample else b"\n" for number, line in enumerate(every)]
