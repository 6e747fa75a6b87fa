import csv
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from medsweep.datasets import load
from medsweep.datasets.load import clean, load_pairs
from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import DatasetError

ROWS = [
    {"question": f"What is condition {n}?", "answer": f"It is number {n}, \u03b2 kind."}
    for n in range(5)
]


def local(path: Path, **settings: Any) -> DatasetSpec:
    return DatasetSpec(name="local", path=str(path), **settings)


def jsonl(folder: Path, *lines: object) -> Path:
    path = folder / "data.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_every_kind_of_file_reads_the_same(tmp_path: Path) -> None:
    plain = jsonl(tmp_path, *ROWS)
    with gzip.open(tmp_path / "data.jsonl.gz", "wb") as packed:
        packed.write(plain.read_bytes())
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, ["question", "answer"])
        writer.writeheader()
        writer.writerows(ROWS)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data.parquet")
    expected = load_pairs(local(plain)).pairs
    assert [(pair.question, pair.answer) for pair in expected] == [
        (row["question"], row["answer"]) for row in ROWS
    ]
    for name in ("data.jsonl.gz", "data.csv", "data.parquet"):
        assert load_pairs(local(tmp_path / name)).pairs == expected, name


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    texts = {"data.csv": "question,answer\nWhy?,So.\n", "data.jsonl": json.dumps(ROWS[0])}
    (tmp_path / name).write_text(texts[name], encoding="utf-8-sig")
    assert len(load_pairs(local(tmp_path / name)).pairs) == 1


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.path: .*none\.jsonl: no such file"):
        load_pairs(local(tmp_path / "none.jsonl"))


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("x")
    with pytest.raises(DatasetError, match=r"give \.jsonl, \.jsonl\.gz, \.csv or \.parquet"):
        load_pairs(local(tmp_path / "data.txt"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut-short.jsonl.gz", gzip.compress(json.dumps(ROWS).encode() * 50)[:-20]),
        ("no-gzip.jsonl.gz", b"plain text"),
        ("damaged.jsonl.gz", gzip.compress(b"x" * 90)[:10] + b"\xff" * 30),
        ("no-table.parquet", b"plain text"),
        ("latin.jsonl", b'{"question": "caf\xe9?", "answer": "yes"}\n'),
        ("nul.csv", b'question,answer\n"' + b"x" * 200_000 + b'","y"\n'),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}: cannot be read: "):
        load_pairs(local(tmp_path / name))


def test_unreadable_lines_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS, "{cut", "", "[1, 2]")
    loaded = load_pairs(local(path, max_unusable_fraction=0.5))
    assert (loaded.rows, len(loaded.pairs)) == (7, 5)
    assert loaded.dropped == {"unreadable": 2}
    assert loaded.summary() == "5 pairs of 7 rows; dropped 2 unreadable (first: line 6)"


def test_empty_over_long_and_duplicate_rows_are_counted(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        *ROWS,
        {"question": "Why?", "answer": " \n "},
        {"question": None, "answer": "So."},
        {"question": "How?", "answer": "word " * 7},
        {"question": "What is condition 0 ??", "answer": ROWS[0]["answer"]},
        {"question": "What is condition 0?", "answer": "Another answer."},
    )
    loaded = load_pairs(local(path, max_answer_words=6))
    assert loaded.dropped == {"empty": 2, "over-long": 1, "duplicate": 1}
    assert loaded.examples == {"empty": "line 6", "over-long": "line 8", "duplicate": "line 9"}
    assert len(loaded.pairs) == 6


def test_over_the_limit_of_unusable_rows_stops(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS[:3], {"question": "Why?", "answer": ""}, "{cut")
    assert len(load_pairs(local(path, max_unusable_fraction=0.4)).pairs) == 3
    with pytest.raises(DatasetError, match="2 of 5 rows are unreadable or empty") as stopped:
        load_pairs(local(path, max_unusable_fraction=0.39))
    assert "1 empty (first: line 4), 1 unreadable (first: line 5)" in str(stopped.value)


def test_an_empty_file_has_no_pair(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no usable pair: 0 pairs of 0 rows"):
        load_pairs(local(jsonl(tmp_path)))


@pytest.mark.parametrize("first", [ROWS[0], "{cut"])
def test_a_wrong_column_name_lists_the_columns(tmp_path: Path, first: object) -> None:
    path = jsonl(tmp_path, first, *ROWS)
    with pytest.raises(DatasetError, match="no row has a column 'reply'") as wrong:
        load_pairs(local(path, answer_column="reply"))
    assert "the columns are question, answer; set dataset.question_column" in str(wrong.value)


def test_a_first_row_without_an_answer_is_a_dirty_row(tmp_path: Path) -> None:
    loaded = load_pairs(local(jsonl(tmp_path, {"question": "Why?"}, *ROWS)))
    assert (len(loaded.pairs), loaded.dropped) == (5, {"empty": 1})


def test_other_column_names(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"input": "Why?", "output": "So.", "question_type": "causes"})
    [pair] = load_pairs(local(path, question_column="input", answer_column="output")).pairs
    assert (pair.question, pair.answer, pair.question_type) == ("Why?", "So.", "causes")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("What is  X ? ?", "What is X?"),
        ("What is X ?", "What is X?"),
        ("What is X???", "What is X?"),
        (" Why ? Because\n of \t Y. ", "Why ? Because of Y."),
        (None, ""),
        (3.5, ""),
        ("? ?", "?"),
    ],
)
def test_clean(given: object, expected: str) -> None:
    assert clean(given) == expected


def test_answers_that_medquad_withholds_are_no_dirt(monkeypatch: pytest.MonkeyPatch) -> None:
    def hub(hub_id: str) -> Iterator[tuple[str, Any]]:
        assert hub_id == "lavita/MedQuAD"
        for number, row in enumerate(ROWS):
            yield f"row {number}", row
            yield f"row {number}b", {"question": row["question"], "answer": None}

    monkeypatch.setattr(load, "_hub_rows", hub)
    loaded = load_pairs(DatasetSpec(name="medquad"))
    assert (len(loaded.pairs), loaded.dropped) == (5, {"withheld": 5})


def test_no_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DatasetError, match=r"pip install medsweep\[hub\].*--set dataset\.path=FILE"
    ):
        load_pairs(DatasetSpec(name="medquad"))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [({"name": "local"}, "needs `path`"), ({"path": "my.csv"}, "takes no `path`")],
)
def test_path_and_name_fit(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DatasetSpec(**settings)


def test_only_public_data_may_be_stored(tmp_path: Path) -> None:
    assert DatasetSpec().is_public
    assert not local(tmp_path / "patients.csv").is_public
    assert local(tmp_path / "mine.csv", public=True).is_public
