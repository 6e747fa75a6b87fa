import csv
import gzip
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medsweep.datasets.catalog import DATASETS
from medsweep.datasets.load import load_sources
from medsweep.datasets.read import open_hub, open_source
from medsweep.datasets.spec import DatasetSpec, SourceSpec
from medsweep.errors import DatasetError
from medsweep.metrics.choice_rows import choice_question
from support import package

ROWS = [{"question": f"Is it {n}?", "answer": f"It is {n}, \u03b2 kind."} for n in range(5)]

# One row of each repository on the hub, with all of its columns (its dataset page).
HUB_ROWS: dict[str, dict[str, Any]] = {
    "lavita/MedQuAD": {
        "document_id": "0000559",
        "document_source": "GHR",
        "document_url": "https://ghr.nlm.nih.gov/condition/keratoderma",
        "category": None,
        "umls_cui": "C0022596",
        "umls_semantic_types": "T047",
        "umls_semantic_group": "Disorders",
        "synonyms": "PPK",
        "question_id": "0000559-1",
        "question_focus": "keratoderma",
        "question_type": "information",
        "question": "What is (are) keratoderma ?",
        "answer": "A disorder of the skin.",
    },
    "keivalya/MedQuad-MedicalQnADataset": {
        "qtype": "information",
        "Question": "What is (are) keratoderma ?",
        "Answer": "A disorder of the skin.",
    },
    "medalpaca/medical_meadow_wikidoc": {
        "instruction": "Answer this question truthfully",
        "input": "What is (are) keratoderma ?",
        "output": "A disorder of the skin.",
    },
}

# Likewise of the multiple-choice sets, with invented questions: the file, and its right option.
CHOICES: dict[str, tuple[str, dict[str, Any], str]] = {
    "medqa": (
        "phrases_no_exclude_test.jsonl",
        {
            "question": "Which vitamin prevents scurvy?",
            "answer": "Vitamin C",
            "options": {"A": "Vitamin B12", "B": "Vitamin C", "C": "Zinc", "D": "Iron"},
            "meta_info": "step1",
            "answer_idx": "B",
            "metamap_phrases": ["vitamin", "scurvy"],
        },
        "Vitamin C",
    ),
    "medmcqa": (
        "data/validation-00000-of-00001.parquet",
        {
            "id": "a-b",
            "question": "Which vitamin prevents scurvy?",
            "opa": "Vitamin C",
            "opb": "Vitamin B12",
            "opc": "Zinc",
            "opd": "Iron",
            "cop": 0,
            "choice_type": "single",
            "exp": None,
            "subject_name": "Biochemistry",
            "topic_name": None,
        },
        "Vitamin C",
    ),
    "pubmedqa": (
        "pqa_labeled/train-00000-of-00001.parquet",
        {
            "pubid": 1,
            "question": "Does vitamin C prevent scurvy?",
            "context": {
                "contexts": ["Sailors had scurvy."],
                "labels": ["BACKGROUND"],
                "meshes": ["Scurvy"],
                "reasoning_required_pred": ["y"],
                "reasoning_free_pred": ["y"],
            },
            "long_answer": "It does.",
            "final_decision": "yes",
        },
        "yes",
    ),
}


def rows(path: Path) -> list[Any]:
    return list(open_source(SourceSpec(name="local", path=str(path))).rows)


def test_every_kind_of_file_reads_the_same(tmp_path: Path) -> None:
    plain = tmp_path / "data.jsonl"
    plain.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    with gzip.open(tmp_path / "data.jsonl.gz", "wb") as packed:
        packed.write(plain.read_bytes())
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, ["question", "answer"])
        writer.writeheader()
        writer.writerows(ROWS)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data.parquet")
    for name in ("data.jsonl", "data.jsonl.gz", "data.csv", "data.parquet"):
        assert [row for _, row in rows(tmp_path / name)] == ROWS, name


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    texts = {"data.csv": "question,answer\nWhy?,So.\n", "data.jsonl": json.dumps(ROWS[0])}
    (tmp_path / name).write_text(texts[name], encoding="utf-8-sig")
    assert list(rows(tmp_path / name)[0][1]) == ["question", "answer"]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.path: .*none\.jsonl: no such file"):
        rows(tmp_path / "none.jsonl")


def test_unknown_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("x")
    with pytest.raises(
        DatasetError, match=r"give \.jsonl, \.json, \.csv \(also with \.gz\) or \.parquet"
    ):
        rows(tmp_path / "data.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut-short.jsonl.gz", gzip.compress(json.dumps(ROWS).encode() * 50, mtime=0)[:-20]),
        ("no-gzip.jsonl.gz", b"plain text"),
        ("damaged.jsonl.gz", gzip.compress(b"x" * 90, mtime=0)[:10] + b"\xff" * 30),
        ("no-table.parquet", b"plain text"),
        ("latin.jsonl", b'{"question": "caf\xe9?", "answer": "yes"}\n'),
        ("none.csv.gz", b"plain text"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}: cannot be read: "):
        rows(tmp_path / name)


def test_no_hub_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DatasetError, match=r"pip install medsweep\[hub\].*--set dataset\.path=FILE"
    ):
        open_source(SourceSpec(name="medquad"))


@pytest.mark.parametrize("name", ["medquad", "medquad-qna", "wikidoc"])
def test_the_hub_s_rows_through_the_hub_s_own_library(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = package("datasets")
    import huggingface_hub

    # The library takes a folder of that name for the repository: all of it runs but the download.
    hub_id = SourceSpec(name=name).entry.hub_id or ""
    (tmp_path / hub_id).mkdir(parents=True)
    row = HUB_ROWS[hub_id]
    table = pa.Table.from_pylist([row, {**row, "document_id": "2"} if len(row) > 3 else row])
    pq.write_table(table, tmp_path / hub_id / "train-00000-of-00001.parquet")
    asked: list[tuple[str, Any]] = []

    def info(_: object, repository: str, *, revision: str | None) -> SimpleNamespace:
        asked.append((repository, revision))
        return SimpleNamespace(sha="0123abcd")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()
    # With the hub off, nothing is asked of it.
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        [pinned] = load_sources(DatasetSpec(name=name))
    assert asked == []
    assert pinned.record()["revision"] == DATASETS[name].revision
    load_sources(DatasetSpec(name=name))
    assert asked.pop() == (hub_id, DATASETS[name].revision)
    [loaded] = load_sources(DatasetSpec(name=name, revision="main"))
    assert asked == [(hub_id, "main")]
    assert pinned.pairs == loaded.pairs
    assert [(pair.question, pair.answer) for pair in loaded.pairs] == [
        ("What is (are) keratoderma?", "A disorder of the skin.")
    ]
    assert loaded.pairs[0].question_type == (None if name == "wikidoc" else "information")
    assert loaded.dropped == {"duplicate": 1}
    assert (loaded.record()["revision"], loaded.record()["from"]) == ("0123abcd", hub_id)


@pytest.mark.parametrize("name", CHOICES)
def test_multiple_choice_through_the_hub_s_own_library(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = package("datasets")
    import huggingface_hub

    file, row, right = CHOICES[name]
    entry = DATASETS[name]
    folder = tmp_path / str(entry.hub_id)
    (folder / file).parent.mkdir(parents=True)
    other = folder / file.replace(entry.split, "test" if entry.split == "train" else "train")
    # The other split has rows that must not be read.
    for path, rows_ in ((folder / file, [row]), (other, [{**row, "question": "no"}] * 2)):
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows_), path)
        else:
            path.write_text("".join(json.dumps(each) + "\n" for each in rows_))
    if entry.config is not None:
        other.rename(other.with_stem("train-00001-of-00001-unlabeled"))
        card = "---\nconfigs:\n"
        for config, part in ((entry.config, "train-00000-*"), ("pqa_unlabeled", "*-unlabeled.*")):
            card += f"- config_name: {config}\n  data_files:\n"
            card += f"  - split: train\n    path: {entry.config}/{part}\n"
        (folder / "README.md").write_text(card + "---\n")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()
    opened = open_hub(entry, None, "a file")
    assert opened.revision == entry.revision
    [(place, read)] = list(opened.rows)
    assert place == "row 1"
    assert {entry.question, entry.answer} <= set(read)
    assert entry.question_type is None or read[entry.question_type]
    question = choice_question(json.loads(json.dumps(read, default=str)))
    assert question is not None
    assert question.options[question.right] == right
    assert question.question == "\n".join(
        [*(row["context"]["contexts"] if "context" in row else ()), row["question"]]
    )


@pytest.mark.parametrize("name", CHOICES)
def test_multiple_choice_is_not_asked_in_a_sweep(name: str) -> None:
    with pytest.raises(ValueError, match=f"`medsweep score {name} --adapter DIR`"):
        DatasetSpec(name=name)


def test_what_comes_from_the_hub_is_pinned_to_a_commit() -> None:
    pins = {name: entry.revision for name, entry in DATASETS.items() if entry.hub_id}
    assert len(pins) == len(set(pins.values())) == 6
    assert all(re.fullmatch("[0-9a-f]{40}", str(pin)) for pin in pins.values())
    assert not any(entry.revision for entry in DATASETS.values() if not entry.hub_id)


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    package("datasets")
    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("token=secret")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    with pytest.raises(
        DatasetError, match=r"lavita/MedQuAD cannot be fetched.*ConnectionError"
    ) as no:
        open_source(SourceSpec(name="medquad"))
    assert "secret" not in str(no.value)
