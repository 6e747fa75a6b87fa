from pathlib import Path

import pytest

from made_rows import answers, row
from medsweep.comparison.results import read_results
from medsweep.errors import InputError
from medsweep.results.schema import BENCHMARK, RESPONSES
from medsweep.results.store import write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [row(key="one"), row(key="two", profile="q", status="failed", reason="no memory")]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    write_rows(tmp_path / "cells/one/responses.parquet", RESPONSES, answers([0.5, 0.6]))
    return tmp_path


def test_a_folder_and_its_file_are_the_same_set(folder: Path) -> None:
    for path in (folder, folder / "benchmark.parquet"):
        found = read_results(path)
        assert list(found.points()) == [("m", "p", "adapter", "c2")]
        assert list(found.graded()) == [("m", "p", "adapter")]
        assert len(found.graded()["m", "p", "adapter"]) == 2
        assert found.not_ok() == {("m", "q"): "failed: no memory"}


def test_a_file_alone_has_no_answers(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "alone" / "results.parquet"
    moved.parent.mkdir()
    (folder / "benchmark.parquet").rename(moved)
    assert read_results(moved).graded() == {}


def test_what_is_not_a_result_set_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no benchmark\.parquet there"):
        read_results(tmp_path)
    file = tmp_path / "benchmark.parquet"
    file.write_text("not parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_results(file)
    write_rows(file, RESPONSES, answers([0.5]))
    with pytest.raises(InputError, match="no column model, profile, status"):
        read_results(file)
    write_rows(file, BENCHMARK, [])
    with pytest.raises(InputError, match="no rows"):
        read_results(file)
