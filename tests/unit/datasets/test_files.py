"""Data files as people have them; the right reading of each is stated."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsweep.datasets.files import local_rows
from medsweep.datasets.load import Loaded, load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import DatasetError

HEADER = "question,answer\n"


def rows(path: Path) -> list[Any]:
    return [row for _, row in local_rows(path)]


def places(path: Path) -> list[str]:
    return [place for place, _ in local_rows(path)]


def loaded(path: Path, **settings: Any) -> Loaded:
    [one] = load_sources(
        DatasetSpec.model_validate({"name": "local", "path": str(path), **settings})
    )
    return one


def pairs(path: Path, **settings: Any) -> list[tuple[str, str]]:
    return [(pair.question, pair.answer) for pair in loaded(path, **settings).pairs]


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    return tmp_path / "data.csv"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # 33 rows of which the unclosed quotation mark used to swallow 21 in silence.
        (
            HEADER
            + "".join(f"q{n},a{n}\n" for n in range(11))
            + '"q11,a11\n'
            + "".join(f"q{n},a{n}\n" for n in range(12, 33)),
            "line 13: a quotation mark in the row that begins here is not closed",
        ),
        (HEADER + 'q0,"a0\nq1,"a1"\nq2,a2\n', "line 2: a quotation mark"),
        (HEADER + 'q0,a0\nq1,"a "very" good"\n', "line 3: a quotation mark"),
        (
            HEADER + "q0,a0\nWhat, then?,a1\n",
            "line 3: 3 cells, and the header has 2: a text with a",
        ),
        (HEADER + 'q0,"a\nb",c\n', "lines 2 to 3: 3 cells"),
        (HEADER + "q0,a0\nq1\n", "line 3: 1 cells, and the header has 2: a cell is missing"),
        ("question,answer,answer\nq,a,b\n", "line 1: the header names 'answer' in columns 2 and 3"),
        ("question, answer,answer \nq,a,b\n", "the header names 'answer' in columns 2 and 3"),
    ],
)
def test_a_csv_file_that_is_not_well_formed_is_a_fault_with_its_line(
    csv_file: Path, text: str, fault: str
) -> None:
    for newline in ("\n", "\r\n"):
        csv_file.write_bytes(text.replace("\n", newline).encode())
        with pytest.raises(DatasetError, match=r"data\.csv: ") as refused:
            rows(csv_file)
        assert fault in str(refused.value)
        assert "q12" not in str(refused.value)  # none of the text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEADER + '"What, then?","a ""b""\nc"\n',
            [{"question": "What, then?", "answer": 'a "b"\nc'}],
        ),
        (HEADER + "\nq,a\n\n", [{"question": "q", "answer": "a"}]),
        ("question , answer\r\nq,a\r\n", [{"question": "q", "answer": "a"}]),
        (",question,answer,,\n0,q,a,,\n", [{"question": "q", "answer": "a"}]),
        (HEADER + "q,a,,\n", [{"question": "q", "answer": "a"}]),
        (HEADER + "q,\n", [{"question": "q", "answer": ""}]),
        (HEADER + "q,a\u2028b\x0cc\x85d", [{"question": "q", "answer": "a\u2028b\x0cc\x85d"}]),
        (HEADER + f"q,{'x' * 300_000}\n", [{"question": "q", "answer": "x" * 300_000}]),
        ("", []),
        (HEADER, []),
    ],
)
def test_a_csv_file_that_is_well_formed(csv_file: Path, text: str, expected: list[Any]) -> None:
    csv_file.write_text(text, encoding="utf-8-sig", newline="")
    assert rows(csv_file) == expected
    packed = csv_file.with_name("packed.csv.gz")
    packed.write_bytes(gzip.compress(csv_file.read_bytes()))
    assert rows(packed) == expected


def test_places_in_a_csv_file_are_lines_of_the_file(csv_file: Path) -> None:
    csv_file.write_text(HEADER + 'q,"a\nb"\n\nq2,a2\n')
    assert places(csv_file) == ["line 2", "line 5"]


@pytest.mark.parametrize("break_", ["\u2028", "\u2029", "\x85"])
def test_only_a_newline_ends_a_line_of_jsonl(tmp_path: Path, break_: str) -> None:
    path = tmp_path / "data.jsonl"
    row = {"question": f"a{break_}b", "answer": "c"}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\r\n\n" + json.dumps(row))
    assert rows(path) == [row, row]
    assert places(path) == ["line 1", "line 3"]
    path.write_text('{"question": "a\x0cb", "answer": "c"}\n')  # not allowed in JSON
    assert rows(path) == [None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "q", "answer": ' + "[" * 2000 + "]" * 2000 + "}", "unreadable"),
        ('{"question": "q", "answer": ' + "[" * 100_000 + "}", "unreadable"),
        ('{"question": "q", "answer": "a", "answer": "b"}', "unreadable"),
        ('{"question": "q", "answer": "half \\ud83d"}', "half-surrogate"),
        ('{"question": "\\ude00", "answer": "a"}', "half-surrogate"),
        ('{"question": "q", "answer": true}', "not-text"),
        ('{"question": "q", "answer": ["a", "b"]}', "not-text"),
        ('{"question": "q", "answer": {"text": "a"}}', "not-text"),
        ('{"question": "q", "answer": []}', "not-text"),
        ('{"question": "q", "answer": null}', "empty"),
        ('{"question": "q", "answer": NaN}', "empty"),
        ('{"question": "q"}', "empty"),
    ],
)
def test_a_row_that_is_no_pair_is_counted_as_what_it_is(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"question": "good", "answer": "a"}\n' + line + "\n")
    one = loaded(path, max_unusable_fraction=0.5)
    assert (one.dropped, one.examples, len(one.pairs)) == ({reason: 1}, {reason: "line 2"}, 1)
    with pytest.raises(DatasetError, match=f"1 of 2 rows.*1 {reason}"):
        loaded(path, max_unusable_fraction=0.4)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("4", "4"),
        ("-4.5", "-4.5"),
        ("0", "0"),
        ('["a"]', "a"),
        ("[4]", "4"),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_an_answer_that_stands_for_text_is_text(tmp_path: Path, answer: str, text: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"question": 7, "answer": {answer}}}\n')
    assert pairs(path) == [("7", text)]


def test_parquet_of_bytes_lists_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    table = {"question": [b"q1", b"q2", b"\xff"], "answer": [["a"], ["b", "c"], ["d"]]}
    pq.write_table(pa.table(table), path)
    one = loaded(path, max_unusable_fraction=1.0)
    assert [(pair.question, pair.answer) for pair in one.pairs] == [("q1", "a")]
    assert one.dropped == {"not-text": 2}
    pq.write_table(pa.table({"question": [1, 2], "answer": [4.0, float("nan")]}), path)
    one = loaded(path, max_unusable_fraction=1.0)
    assert [(pair.question, pair.answer) for pair in one.pairs] == [("1", "4.0")]
    assert one.dropped == {"empty": 1}


def test_a_folder_of_parquet_files_as_spark_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "data.parquet"
    (folder / "lang=en").mkdir(parents=True)
    for name, first in (("part-00001.snappy.parquet", 2), ("lang=en/part-00000.parquet", 0)):
        made = [{"question": f"q{n}", "answer": f"a{n}"} for n in (first, first + 1)]
        pq.write_table(pa.Table.from_pylist(made), folder / name)
    for name in ("_SUCCESS", ".part-00000.parquet.crc", "_temporary.parquet"):
        (folder / name).write_bytes(b"")
    assert pairs(folder) == [(f"q{n}", f"a{n}") for n in range(4)]
    assert places(folder)[1] == "lang=en/part-00000.parquet, row 2"


def test_a_folder_without_data_or_with_two_kinds(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data file in this folder"):
        rows(tmp_path)
    (tmp_path / "a.csv").write_text(HEADER)
    (tmp_path / "b.jsonl").write_text("{}")
    with pytest.raises(DatasetError, match=r"several kinds \(\.csv, \.jsonl\)"):
        rows(tmp_path)


def test_a_pipe_is_told_as_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.jsonl")
    with pytest.raises(DatasetError, match="a pipe or device, which cannot be read twice"):
        rows(tmp_path / "data.jsonl")


def test_an_object_of_objects_is_rows_by_id(tmp_path: Path) -> None:
    path = tmp_path / "pubmedqa.json"
    path.write_text(json.dumps({"1": {"QUESTION": "a?"}, "2": {"QUESTION": "b?"}}, indent=2))
    assert rows(path) == [{"QUESTION": "a?"}, {"QUESTION": "b?"}]
    path.write_text(json.dumps({"question": "a?", "answer": "b"}))
    assert rows(path) == [{"question": "a?", "answer": "b"}], "one line is one row"


def test_a_list_in_one_json_file(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('\ufeff[\n {"question": "q", "answer": "a"},\n 3]')
    assert list(local_rows(path)) == [("entry 1", {"question": "q", "answer": "a"}), ("entry 2", 3)]
    path.write_text('{"question": "q", "answer": "a"}\n{"question": "r", "answer": "b"}\n')
    assert len(rows(path)) == 2
    path.write_text("[{]")
    with pytest.raises(DatasetError, match=r"data\.json: cannot be read: is not JSON"):
        rows(path)
