"""The job that the options of a load test make."""

from __future__ import annotations

import argparse

import pytest

from medsweep.cli import bench, load_options
from medsweep.errors import InputError
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.models.templates import PAPER_INSTRUCTION


def job(*words: str) -> LoadJob:
    parser = argparse.ArgumentParser()
    bench.configure(parser)
    options = parser.parse_args(["http://x/v1", "--model", "m", *words])
    return load_options.job(options, [LoadPoint(concurrency=1, requests=1)])


@pytest.mark.parametrize(
    ("words", "instruction"),
    [
        ([], None),
        (["--dataset", "embedded"], PAPER_INSTRUCTION),
        (["--dataset", "embedded", "--instruction", ""], None),
        (["--dataset", "embedded", "--endpoint", "completions"], None),
        (["--instruction", "Be brief."], "Be brief."),
    ],
)
def test_graded_questions_have_the_instruction_of_sweeps(
    words: list[str], instruction: str | None
) -> None:
    assert job(*words).instruction == instruction


@pytest.mark.parametrize("other", [["--endpoint", "completions"], ["--input-tokens", "64"]])
def test_an_instruction_needs_questions_of_a_chat(
    other: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_options, "_prompts", lambda *_: ())
    with pytest.raises(InputError, match="--instruction is a chat's system message"):
        job("--instruction", "Be brief.", *other)
