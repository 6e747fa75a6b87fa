"""The examples of docs/parquet.md, run on a result folder."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "parquet.md"


def test_every_example_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    assert len(examples) == 5
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), names)
        assert capsys.readouterr().out.strip()
