import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medsweep.datasets.export import prompt_rows, write_prompt_rows
from medsweep.datasets.spec import Pair
from medsweep.errors import InputError
from medsweep.models.templates import PAPER_INSTRUCTION, TEMPLATES

PAIRS = [Pair("a", "Why?", "So, \u03b2."), Pair("b", "How?", "Thus.")]


def test_the_columns_of_the_paper_s_figure_1() -> None:
    rows = prompt_rows(PAIRS, TEMPLATES["llama-2"])
    assert rows[0] == {
        "instruction": PAPER_INSTRUCTION,
        "input": "Why?",
        "prompt": f"<s> [INST] <<SYS>>\n{PAPER_INSTRUCTION}\n<</SYS>>\n\nWhy? [/INST]",
        "output": "So, \u03b2.",
    }
    assert [list(row) for row in rows] == [["instruction", "input", "prompt", "output"]] * 2


def test_every_kind_of_file_holds_the_rows(tmp_path: Path) -> None:
    rows = prompt_rows(PAIRS, TEMPLATES["gemma"])
    for name in ("a.parquet", "a.jsonl", "a.jsonl.gz"):
        write_prompt_rows(rows, tmp_path / name)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows
    text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).decode() == text


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give \.jsonl, \.jsonl\.gz or \.parquet"):
        write_prompt_rows([], tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        write_prompt_rows([{"input": "a"}], tmp_path / "absent" / "a.jsonl")
