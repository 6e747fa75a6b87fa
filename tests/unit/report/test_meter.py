import json
from pathlib import Path

from made_rows import row
from medsweep.metrics.meter import ANY_ERROR, REWRITE
from medsweep.report.tables.meter import meter_table
from medsweep.results.reader import Results
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows


def detection(figure: str, kind: str, seen: int, share: float | None = None) -> dict[str, object]:
    low = high = None
    if share is not None:
        low, high = max(share - 0.1, 0.0), share + 0.1
    return {
        "figure": figure,
        "kind": kind,
        "seen": seen,
        "tried": 50,
        "share": share,
        "low": low,
        "high": high,
    }


DETECTIONS = [
    detection("token_f1", "dose x 10", 2, 0.04),
    detection("token_f1", ANY_ERROR, 2, 0.04),
    detection("token_f1", REWRITE, 2, 0.04),
    detection("consistency", "dose x 10", 40, 0.8),
    detection("consistency", ANY_ERROR, 40, 0.8),
    detection("consistency", REWRITE, 0, 0.0),
    detection("bleu", "dose x 10", 0, 0.0),
    detection("bleu", ANY_ERROR, 0, 0.0),
    detection("bleu", REWRITE, 2, 0.04),
]


def test_a_figure_that_sees_nothing_is_said_to() -> None:
    table = meter_table(DETECTIONS)
    assert [column.title for column in table.columns] == [
        "Figure",
        "In short",
        "dose x 10 (50)",
        "Any error (50)",
        "False alarms (50)",
    ]
    texts = [[cell.text for cell in cells] for cells in table.rows]
    assert texts == [
        ["Token F1", "sees no more than chance", "4 %", "4 %", "4 %"],
        ["Consistency", "sees 80 % of the errors", "80 %", "80 %", "0 %"],
        ["BLEU", "sees nothing", "0 %", "0 %", "4 %"],
    ]
    assert table.rows[1][2].note == "70 to 90 %"


def test_without_a_limit_there_is_no_share() -> None:
    table = meter_table([detection("bleu", ANY_ERROR, 0)])
    assert [column.title for column in table.columns] == ["Figure"]
    assert dict(table.empty)["Any error (50)"].startswith("too few harmless rewrites")
    assert meter_table([]).rows == ()


def test_it_is_read_from_the_folder(tmp_path: Path) -> None:
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [row()])
    assert Results.open(tmp_path).meter == []
    (tmp_path / "meter.json").write_text(json.dumps({"detections": DETECTIONS}))
    assert Results.open(tmp_path).meter == DETECTIONS
