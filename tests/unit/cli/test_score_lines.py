"""The lines that `medsweep score` grades, from files of each kind, and samples of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.cli.score_lines import read_lines, sample_lines


def test_some_lines_are_drawn_by_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "numbers.jsonl"
    rows = [{"prediction": f"{n}", "reference": f"{n} {'x ' * n}"} for n in range(30)]
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n{}\n")

    def scores(*words: str) -> dict[str, Any]:
        code = main(["score", str(file), "--json", *words])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == (1 if found["bad_lines"] else 0)
        return found

    drawn = scores("--questions", "10")
    assert drawn["answers"] + len(drawn["bad_lines"]) == 10
    assert drawn == scores("--questions", "10")
    assert drawn["figures"] != scores("--questions", "10", "--seed", "1")["figures"]
    every = scores("--questions", "99")
    assert (every["answers"], [bad["number"] for bad in every["bad_lines"]]) == (30, [32])


def test_a_sample_leaves_each_line_in_its_place() -> None:
    lines = [b"a\n", b"\n", b"b\n", b"c"]
    sample = sample_lines(lines, 2, seed=0)
    assert sum(line != b"\n" for line in sample) == 2
    assert all(line in (given, b"\n") for line, given in zip(sample, lines, strict=True))
    assert sample_lines(lines, 9, seed=0) == lines


def test_gzip_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "answers.jsonl.gz"
    row = json.dumps({"prediction": "Rest.", "reference": "Rest."})
    packed.write_bytes(gzip.compress(f"{row}\n{row}\n".encode()))
    assert main(["score", str(packed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == 2


def test_a_row_of_parquet_is_a_line(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prediction": "Rest.", "reference": "Sleep."}, {"prediction": "", "reference": "No."}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "answers.parquet")
    assert [json.loads(line) for line in read_lines(tmp_path / "answers.parquet")] == rows


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.jsonl", None, "no such file"),
        ("empty.jsonl", b"", "no line with `prediction`"),
        ("bad.jsonl.gz", b"no gzip", "cannot be read"),
    ],
)
def test_nothing_to_grade_is_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["score", str(tmp_path / name)]) == 2
    assert says in capsys.readouterr().err
