"""Pairs as the paper's Figure 1 shows them: instruction, input, prompt and output."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medsweep.datasets.spec import Pair
from medsweep.errors import InputError
from medsweep.models.templates import PAPER_INSTRUCTION, Template


def prompt_rows(pairs: Iterable[Pair], template: Template) -> list[dict[str, str]]:
    """Return each pair with the columns of the paper's Figure 1 (its section 3.1).

    Args:
        pairs: questions with their answers.
        template: renders `prompt`, with the model's special tokens.
    """
    return [
        {
            "instruction": PAPER_INSTRUCTION,
            "input": pair.question,
            "prompt": template.render(
                [
                    {"role": "system", "content": PAPER_INSTRUCTION},
                    {"role": "user", "content": pair.question},
                ]
            ),
            "output": pair.answer,
        }
        for pair in pairs
    ]


def write_prompt_rows(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write rows to a .jsonl, .jsonl.gz or .parquet file.

    Raises:
        InputError: the name has another ending, or the file cannot be written.
    """
    try:
        if path.name.endswith(".parquet"):
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        elif path.name.endswith((".jsonl", ".jsonl.gz")):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            data = text.encode()
            path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
        else:
            raise InputError(f"{path}: unknown file type; give .jsonl, .jsonl.gz or .parquet")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
