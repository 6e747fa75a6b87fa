from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main


@pytest.mark.slow
@pytest.mark.parametrize("base", [False, True])
def test_an_adapter_answers(
    fine_tuned: Any, capsys: pytest.CaptureFixture[str], base: bool
) -> None:
    arguments = [
        "ask",
        "--adapter",
        str(fine_tuned.job.folder),
        "--max-tokens",
        "8",
        "What is asthma?",
    ]
    assert main(arguments + ["--base"] * base) == 0
    assert capsys.readouterr().out.strip()


def test_a_folder_that_is_no_adapter_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "--adapter", str(tmp_path), "What is asthma?"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
