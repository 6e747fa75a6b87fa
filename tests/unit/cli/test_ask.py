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


@pytest.mark.slow
def test_prompts_of_a_file_are_shown_above_their_answers(
    fine_tuned: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The paper's Table 5."""
    prompts = Path(__file__).parents[3] / "jobs" / "sweeps" / "paper-prompts.txt"
    folder = str(fine_tuned.job.folder)
    assert main(["ask", "--adapter", folder, "--max-tokens", "4", "--file", str(prompts)]) == 0
    out = capsys.readouterr().out
    assert out.count("> Patient Information:") == 2
    first, second = out.index("potential diagnoses"), out.index("differential diagnosis?")
    assert first < second
    assert out[second:].split("\n", 1)[1].strip(), "an answer stands below"


@pytest.mark.parametrize(
    ("text", "problem"), [(None, "cannot be read"), ("---\n\n---\n", "no prompt in it")]
)
def test_a_file_without_prompts_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, problem: str
) -> None:
    file = tmp_path / "prompts.txt"
    if text is not None:
        file.write_text(text)
    assert main(["ask", "--adapter", "x", "--file", str(file)]) == 2
    assert problem in capsys.readouterr().err
    assert main(["ask", "--adapter", "x"]) == 2
    assert "either QUESTION or --file" in capsys.readouterr().err


def test_a_folder_that_is_no_adapter_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "--adapter", str(tmp_path), "What is asthma?"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
