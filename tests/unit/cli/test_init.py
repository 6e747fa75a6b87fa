import re
from pathlib import Path

import pytest

from medsweep.cli import main
from medsweep.cli.init import sweep_template
from medsweep.config import load_config
from medsweep.sweep.spec import SweepSpec


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


def load(folder: Path, text: str) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return load_config(SweepSpec, path)


def test_the_template_is_a_sweep(tmp_path: Path) -> None:
    spec = load(tmp_path, sweep_template())
    assert spec.cells == ["distilgpt2@host", "distilgpt2@1xv100-1cpu"]
    assert spec.finetune == SweepSpec.model_fields["finetune"].default


def test_every_default_that_it_shows_is_the_default(tmp_path: Path) -> None:
    shown = re.sub(r"^( *)# (\w+: )", r"\1\2", sweep_template(), flags=re.M)
    assert shown.count("\n") == sweep_template().count("\n")
    assert load(tmp_path, shown) == load(tmp_path, sweep_template())
    assert len(re.findall(r"^ *\w+:", shown, flags=re.M)) > 40
