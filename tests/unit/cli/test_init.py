from pathlib import Path

import pytest

from medsweep.cli import main


def test_a_new_file_is_valid_and_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    assert main(["init", str(path)]) == 0
    assert main(["validate", str(path)]) == 0
    before = path.read_text()
    assert main(["init", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_text() == before


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "none" / "mine.yaml")]) == 2
    assert "No such file or directory" in capsys.readouterr().err
