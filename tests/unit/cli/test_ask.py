import asyncio
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main, parser_for
from medsweep.cli.asking import answerer
from medsweep.finetune.adapter import base_sha256, read_card
from medsweep.loadgen.mock.server import running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.models.catalog import MODELS
from medsweep.models.own import OwnModelSpec


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


async def test_a_server_answers_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    timing = MockTiming(ttft_s=0.01, gap_s=0.001, tokens=6)
    async with running_mock(timing) as server:
        words = ["ask", "--url", server.base_url, "--max-tokens", "6", "What is asthma?"]
        assert await asyncio.to_thread(main, words) == 0
        assert await asyncio.to_thread(main, [*words, "--instruction", "Be brief."]) == 0
        body, instructed = server.requests
    assert body["model"] == "mock"
    question = {"role": "user", "content": "What is asthma?"}
    assert body["messages"] == [question]
    assert instructed["messages"] == [{"role": "system", "content": "Be brief."}, question]
    assert len(capsys.readouterr().out.split()) >= 1


@pytest.mark.slow
def test_a_base_model_answers(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", "--model", "standin-distilgpt2", "--max-tokens", "4", "What is asthma?"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_the_weights_of_the_base_are_known(fine_tuned: Any) -> None:
    """By them `safety` tells the answers of other weights apart."""
    folder = fine_tuned.job.folder
    options = parser_for("ask").parse_args(["ask", "--adapter", str(folder), "What is asthma?"])
    with answerer(options) as model:
        assert model.base is not None
        assert base_sha256(model.base) == read_card(folder).base_sha256


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no model to ask: give one of --adapter DIR, --model NAME and --url URL"),
        (["--adapter", "x", "--model", "y"], "no model to ask"),
        (["--model", "y", "--base"], "--base is the base model of an adapter"),
        (["--url", "http://x/v1", "--base"], "leave --adapter and --base out"),
    ],
)
def test_it_must_be_clear_who_is_asked(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", *words, "What is asthma?"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_an_adapter_of_a_sweep_s_own_model_answers(
    fine_tuned: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(fine_tuned.job.folder, tmp_path / "adapter"))
    card = json.loads((folder / "adapter.json").read_text())
    (folder / "adapter.json").write_text(json.dumps({**card, "model": "mine-1b"}))
    standin = asdict(MODELS[card["model"]])
    own = {name: standin[name] for name in OwnModelSpec.model_fields} | {
        "name": "mine-1b",
        "folder": card["base"],
        "stop_tokens": list(standin["stop_tokens"]),
        "lora_targets": list(standin["lora_targets"]),
    }
    sweep = {"name": "mine", "cells": ["mine-1b@host"], "own_models": [own]}
    load = {"points": [{"concurrency": 1}]}
    (tmp_path / "mine.yaml").write_text(json.dumps({**sweep, "load": load}))
    arguments = ["ask", "--adapter", str(folder), "--max-tokens", "8", "What is asthma?"]
    assert main(arguments) == 2
    assert "unknown model 'mine-1b'" in capsys.readouterr().err
    assert main([*arguments, "--sweep", str(tmp_path / "mine.yaml")]) == 0
    assert capsys.readouterr().out.strip()


def test_a_folder_that_is_no_adapter_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "--adapter", str(tmp_path), "What is asthma?"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
