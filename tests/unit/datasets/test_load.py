import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.datasets import load
from medsweep.datasets.load import Loaded, load_sources
from medsweep.datasets.read import Opened
from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import DatasetError

ROWS = [
    {"question": f"What is condition {n}?", "answer": f"It is number {n}, \u03b2 kind."}
    for n in range(5)
]


def local(path: Path, **settings: Any) -> DatasetSpec:
    return DatasetSpec(name="local", path=str(path), **settings)


def jsonl(folder: Path, *lines: object, name: str = "data.jsonl") -> Path:
    path = folder / name
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def only(spec: DatasetSpec) -> Loaded:
    [loaded] = load_sources(spec)
    return loaded


def test_unreadable_lines_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS, "{cut", "", "[1, 2]")
    loaded = only(local(path, max_unusable_fraction=0.5))
    assert (loaded.rows, len(loaded.pairs)) == (7, 5)
    assert loaded.dropped == {"unreadable": 2}
    assert loaded.summary() == "5 pairs of 7 rows; dropped 2 unreadable (first: line 6)"


def test_every_rule_s_count_is_in_the_record(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        *ROWS,
        {"question": "Why?", "answer": " \n "},
        {"question": None, "answer": "So."},
        {"question": "How?", "answer": "word " * 7},
        {"question": "What is condition 0 ? ?", "answer": ROWS[0]["answer"]},
        {"question": "And what else ? ?", "answer": "Another answer."},
    )
    loaded = only(local(path, max_answer_words=6))
    assert loaded.examples == {"empty": "line 6", "over-long": "line 8", "duplicate": "line 9"}
    assert loaded.record() == {
        "name": "local",
        "from": "data.jsonl",
        "revision": None,
        "licence": None,
        "weight": 1.0,
        "rows": 10,
        "pairs": 6,
        "dropped": {"duplicate": 1, "empty": 2, "over-long": 1},
        "mended": {"question-marks": 1},
    }
    assert loaded.summary().endswith("; mended 1 question-marks")


def test_a_rule_that_is_switched_off_does_nothing(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"question": "Why ? ?", "answer": "So."}, *ROWS, ROWS[0])
    loaded = only(local(path, rules=["empty"]))
    assert loaded.pairs[0].question == "Why??"
    assert len(loaded.pairs) == 7
    assert (loaded.dropped, loaded.mended) == ({}, {})


def test_over_the_limit_of_unusable_rows_stops(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS[:3], {"question": "Why?", "answer": ""}, "{cut")
    assert len(only(local(path, max_unusable_fraction=0.4)).pairs) == 3
    with pytest.raises(DatasetError, match="2 of 5 rows are unreadable or empty") as stopped:
        only(local(path, max_unusable_fraction=0.39))
    assert "1 empty (first: line 4), 1 unreadable (first: line 5)" in str(stopped.value)


def test_an_empty_file_has_no_pair(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no usable pair: 0 pairs of 0 rows"):
        only(local(jsonl(tmp_path)))


def test_a_fault_of_a_mixture_names_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {"name": "local", "path": str(tmp_path / "absent.csv")}
    spec = DatasetSpec.model_validate({"mix": [{"name": "embedded"}, absent]})
    with pytest.raises(DatasetError, match=r"^dataset\.mix\[1\]\.path: .*absent.csv: no such file"):
        load_sources(spec)
    monkeypatch.setitem(sys.modules, "datasets", None)
    spec = DatasetSpec.model_validate({"mix": [{"name": "embedded"}, {"name": "medquad"}]})
    with pytest.raises(DatasetError) as wrong:
        load_sources(spec)
    assert str(wrong.value).endswith("such as `path: FILE` in dataset.mix[1]")


@pytest.mark.parametrize("first", [ROWS[0], "{cut"])
def test_a_wrong_column_name_lists_the_columns_and_the_nearest(
    tmp_path: Path, first: object
) -> None:
    path = jsonl(tmp_path, first, *ROWS)
    with pytest.raises(DatasetError) as wrong:
        only(local(path, columns={"answer": "Answers"}))
    assert "no row has a column 'Answers' (did you mean 'answer'?)" in str(wrong.value)
    assert "the columns are question, answer; set dataset.columns.answer" in str(wrong.value)


def test_a_wrong_column_of_a_mixture_names_its_place(tmp_path: Path) -> None:
    path = jsonl(tmp_path, *ROWS)
    mix = [{"name": "embedded"}, {"name": "wikidoc", "path": str(path)}]
    with pytest.raises(DatasetError, match=r"'input'.*set dataset\.mix\[1\]\.columns\.question"):
        load_sources(DatasetSpec.model_validate({"mix": mix}))


def test_a_first_row_without_an_answer_is_a_dirty_row(tmp_path: Path) -> None:
    loaded = only(local(jsonl(tmp_path, {"question": "Why?"}, *ROWS)))
    assert (len(loaded.pairs), loaded.dropped) == (5, {"empty": 1})


def test_other_column_names(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"input": "Why?", "output": "So.", "sort": "causes"})
    columns = {"question": "input", "answer": "output", "question_type": "sort"}
    [pair] = only(local(path, columns=columns)).pairs
    assert (pair.question, pair.answer, pair.question_type) == ("Why?", "So.", "causes")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("medquad", {"question": "Why?", "answer": "So.", "question_type": "causes"}),
        ("medquad-qna", {"Question": "Why?", "Answer": "So.", "qtype": "causes"}),
        ("wikidoc", {"instruction": "Answer truthfully", "input": "Why?", "output": "So."}),
    ],
)
def test_a_local_copy_of_a_hub_dataset_has_the_hub_s_columns(
    tmp_path: Path, name: str, row: dict[str, str]
) -> None:
    [pair] = only(DatasetSpec(name=name, path=str(jsonl(tmp_path, row)))).pairs
    assert (pair.question, pair.answer) == ("Why?", "So.")
    assert pair.question_type == (None if name == "wikidoc" else "causes")


def test_a_pair_of_two_sources_is_the_first_one_s(tmp_path: Path) -> None:
    one = jsonl(tmp_path, *ROWS[:3], name="one.jsonl")
    two = jsonl(tmp_path, *ROWS[1:], name="two.jsonl")
    mix = [{"name": "local", "path": str(one)}, {"name": "local", "path": str(two), "weight": 2.0}]
    first, second = load_sources(DatasetSpec.model_validate({"mix": mix}))
    assert (len(first.pairs), len(second.pairs)) == (3, 2)
    assert second.dropped == {"duplicate": 2}
    assert second.record()["weight"] == 2.0


def test_answers_that_medquad_withholds_are_no_dirt(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[tuple[str, Any]]:
        for number, row in enumerate(ROWS):
            yield f"row {number}", row
            yield f"row {number}b", {"question": row["question"], "answer": None}

    monkeypatch.setattr(load, "open_source", lambda _: Opened(rows(), "a-commit"))
    loaded = only(DatasetSpec(name="medquad"))
    assert (len(loaded.pairs), loaded.dropped) == (5, {"withheld": 5})
    assert loaded.record()["revision"] == "a-commit"
    assert loaded.record()["from"] == "lavita/MedQuAD"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"name": "local"}, "needs `path`"),
        ({"path": "my.csv"}, "takes no `path`"),
        ({"name": "medqua"}, "did you mean 'medquad'"),
        ({"name": "local", "path": "a.csv", "revision": "main"}, "`revision` is for"),
        ({"revision": "main"}, "`revision` is for"),
        ({"name": "medquad", "mix": [{"name": "medquad"}, {"name": "wikidoc"}]}, "place of name"),
        ({"mix": [{"name": "medquad"}]}, "at least 2"),
        ({"rules": ["empty"], "max_answer_words": 9}, "`over-long`, which is not in `rules`"),
        ({"rules": ["tidy"]}, "frequency-tables"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DatasetSpec.model_validate(settings)


def test_only_public_data_may_be_stored(tmp_path: Path) -> None:
    assert DatasetSpec().is_public
    assert not local(tmp_path / "patients.csv").is_public
    assert local(tmp_path / "mine.csv", public=True).is_public
    own = {"name": "local", "path": "patients.csv"}
    assert not DatasetSpec.model_validate({"mix": [{"name": "embedded"}, own]}).is_public
