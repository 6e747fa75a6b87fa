"""`--json` means the same everywhere: one JSON document on standard output, nothing else there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medsweep.cli import VERBS, main, parser_for

SWEEP = "jobs/sweeps/matrix.yaml"
WORDS = {
    "models": [],
    "hardware": [],
    "doctor": [],
    "engines": ["list"],
    "datasets": ["embedded"],
    "validate": [SWEEP],
    "plan": [SWEEP],
    "score": ["ANSWERS"],
    "adapters": ["list", "FOLDER"],
}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("verb", WORDS)
def test_one_document_and_nothing_else(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"prediction": "a fever", "reference": "fever"}\n')
    named = {"ANSWERS": str(answers), "FOLDER": str(tmp_path)}
    words = [named.get(word, word) for word in WORDS[verb]]
    assert main([verb, *words, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_a_mistake_leaves_standard_output_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "no-such-file.yaml", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_every_json_option_says_so() -> None:
    verbs = [verb for verb in VERBS if "--json" in _help(verb)]
    assert len(verbs) > 14
    for verb in verbs:
        said = " ".join(_help(verb).split())
        assert "one JSON document on standard output, and nothing else there" in said, verb


def _help(verb: str) -> str:
    def helps(parser: object) -> str:
        text: str = parser.format_help()  # type: ignore[attr-defined]
        groups = parser._subparsers  # type: ignore[attr-defined]
        for action in groups._group_actions if groups else ():
            text += "".join(map(helps, action.choices.values()))
        return text

    parser = parser_for(verb)
    assert parser._subparsers is not None
    choices = parser._subparsers._group_actions[0].choices
    assert isinstance(choices, dict)
    return helps(choices[verb])
