"""What a stranger wrote into an adapter, a data set or an answer does not command the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import adapters, main
from medsweep.finetune.adapter import PROVENANCE_FILE, Adapter

EVIL = "\x1b]0;title\x07\nok      forged"


def test_show_writes_control_characters_as_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"revision": EVIL, "recipe": {EVIL: 1}, "dataset": {"note": EVIL}}
    (tmp_path / PROVENANCE_FILE).write_text(json.dumps(record))
    adapter = Adapter(tmp_path, EVIL, tmp_path, "chatml", (EVIL,), "0")
    epochs: list[dict[str, Any]] = [{"epoch": 1, "eval_loss": 0.5}]
    monkeypatch.setattr("medsweep.finetune.adapter.read_adapter", lambda folder, **_: adapter)
    monkeypatch.setattr("medsweep.finetune.adapter.read_training", lambda folder: epochs)
    assert main(["adapters", "show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.splitlines())
    assert r"model: \x1b]0;title\x07\nok      forged" in shown


def test_list_writes_control_characters_as_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / f"a{EVIL}"
    folder.mkdir()
    (folder / "adapter.json").write_text("{}")
    assert main(["adapters", "list", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(shown.splitlines()) == 2
    assert set(adapters.HEADINGS.values()) >= {"adapter", "model"}


def test_rows_of_a_data_set_are_shown_without_escape_sequences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.jsonl"
    row = {"question": "What is \x1b[2Jasthma?", "answer": "A disease\x07 of the airways."}
    file.write_text(json.dumps(row))
    assert main(["datasets", "local", "--path", str(file), "--show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "asthma" in shown
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize("action", [["show"], ["verify"], ["merge", "--out", "x"], ["push"]])
def test_a_folder_that_does_not_exist_is_wrong_input(
    action: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["file:///x"] if action == ["push"] else []
    assert main(["adapters", *action, "none", *target]) == 2
    assert "none: no such folder; `medsweep adapters list FOLDER`" in capsys.readouterr().err
