from __future__ import annotations

from pathlib import Path

import pytest

from medsweep.errors import EnvironmentFault
from medsweep.results import cells
from medsweep.results.cells import CellFolder
from medsweep.results.store import read_rows

MEASUREMENT = {"load_point": "c1", "repeat": 1, "variant": "adapter"}


def test_a_measurement_counts_once_it_is_written_and_a_cell_once_it_is_finished(
    tmp_path: Path,
) -> None:
    folder = CellFolder(tmp_path / "k")
    assert not folder.done
    for repeat in (1, 2):
        measurement = {**MEASUREMENT, "repeat": repeat}
        answer = {**measurement, "token_f1": 0.5}
        folder.save_measurement(
            f"c1-{repeat}", measurement, [{**measurement, "index": 7}], [answer]
        )
    assert folder.has_measurement("c1-1")
    assert not folder.has_measurement("c1-3")
    assert not folder.done
    assert [row["repeat"] for row in folder.measurement_rows()] == [1, 2]
    folder.finish("ok", None, folder.measurement_rows())
    assert folder.done
    assert [row["repeat"] for row in read_rows(folder.path / "requests.parquet")] == [1, 2]
    assert [row["token_f1"] for row in read_rows(folder.path / "responses.parquet")] == [0.5, 0.5]
    assert not (folder.path / "visits").exists()


def test_a_failed_cell_is_tried_again_and_keeps_what_was_measured(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path / "k")
    folder.save_measurement("c1-1", MEASUREMENT, [], [])
    folder.finish("failed", "the engine died", [])
    assert not folder.done
    assert folder.has_measurement("c1-1")
    record = folder.record()
    assert record is not None
    assert record["reason"] == "the engine died"


def test_a_measurement_that_could_not_be_written_whole_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise EnvironmentFault(f"{path}: cannot be written: no space")

    folder = CellFolder(tmp_path / "k")
    monkeypatch.setattr(cells, "write_json", full)
    with pytest.raises(EnvironmentFault, match="no space"):
        folder.save_measurement("c1-1", MEASUREMENT, [], [])
    assert not folder.has_measurement("c1-1")
    assert folder.measurement_rows() == []


def test_half_a_record_is_no_record(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    (tmp_path / "cell.json").write_text('{"status": "o')
    assert folder.record() is None
    assert not folder.done
