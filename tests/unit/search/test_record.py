from pathlib import Path
from typing import Any

from medsweep.results.store import write_rows
from medsweep.search.record import (
    COLUMNS,
    Record,
    common_rows,
    kept,
    last_rows,
    read_record,
    table,
)

POINT = {"max_seq_length": 128, "rank": 4, "alpha": 8, "dropout": 0.1}


def rows(epochs: int) -> list[dict[str, Any]]:
    figures = ("loss", "eval_loss", "token_f1", "rouge_l", "corpus_bleu", "ngram_match")
    trained = {"tokens": 600, "seconds": 2.0, **dict.fromkeys(figures, 0.5), "exact_match": 0.0}
    return [kept({**trained, "epoch": epoch}, None) for epoch in range(1, epochs + 1)]


def records() -> list[Record]:
    return [
        Record("c", {**POINT, "rank": 16}, "finished", None, rows(3)),
        Record("a", POINT, "finished", None, rows(3)),
        Record("b", {**POINT, "rank": 8}, "running", None, rows(2)),
        Record("d", {**POINT, "rank": 32}, "failed", "no room", []),
    ]


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = records()[0]
    record.write(tmp_path)
    assert read_record(tmp_path, "c", POINT) == record
    assert read_record(tmp_path, "new", POINT) == Record("new", POINT)
    assert record.done
    assert not records()[2].done


def test_what_is_kept_of_an_epoch() -> None:
    [row] = rows(1)
    assert row["tokens_per_s"] == 300
    assert "exact_match" not in row
    assert {"trial", "status", "reason", *POINT, *row} == {column.name for column in COLUMNS}


def test_one_row_for_each_epoch_of_each_trial(tmp_path: Path) -> None:
    found = table(records())
    write_rows(tmp_path / "search.parquet", COLUMNS, found)
    assert [(row["trial"], row["status"], row.get("epoch")) for row in found] == [
        ("a", "finished", 1),
        ("a", "finished", 2),
        ("a", "finished", 3),
        ("b", "stopped", 1),
        ("b", "stopped", 2),
        ("c", "finished", 1),
        ("c", "finished", 2),
        ("c", "finished", 3),
        ("d", "failed", None),
    ]


def test_effects_are_taken_where_no_trial_is_missing() -> None:
    found = table(records())
    assert [(row["trial"], row["epoch"]) for row in common_rows(found)] == [
        ("a", 2),
        ("b", 2),
        ("c", 2),
    ]
    assert [(row["trial"], row["epoch"]) for row in last_rows(found)] == [("a", 3), ("c", 3)]
    assert common_rows([]) == []
