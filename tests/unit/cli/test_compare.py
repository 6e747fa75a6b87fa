from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from made_rows import answers, repeats, row
from medsweep.cli import main
from medsweep.results.schema import BENCHMARK, RESPONSES
from medsweep.results.store import write_rows


def write(folder: Path, ttft_s: Sequence[float], scores: Sequence[float]) -> str:
    rows = repeats("ttft_mean_s", ttft_s, key="one")
    rows += repeats("ttft_mean_s", ttft_s, key="two", profile="q")
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    write_rows(folder / "cells/one/responses.parquet", RESPONSES, answers(scores))
    write_rows(folder / "cells/two/responses.parquet", RESPONSES, answers([0.5] * len(scores)))
    return str(folder)


@pytest.fixture
def usual(tmp_path: Path) -> str:
    return write(tmp_path / "usual", [0.100, 0.101, 0.099], [0.5] * 12)


def test_the_same_results_pass(usual: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", usual, usual, "--quality-gate", "--margin", "0.6"]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 figures differ beyond noise (Holm, 5 %), 4 could not be tested" in said
    assert "0 of 24 paired answers changed; 2 of 2 pass the quality gate; 0 regressions" in said


def test_a_regression_is_printed_and_exits_5(
    usual: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = write(tmp_path / "slow", [0.150, 0.151, 0.149], [0.5] * 12)
    assert main(["compare", usual, slow]) == 5
    said = capsys.readouterr().out
    assert "worse" in said
    assert "+50.0 %" in said
    lines = [line for line in said.splitlines() if "ttft_mean_s  100 ms  150 ms  +50.0 %" in line]
    assert len(lines) == 2
    assert "2 regressions of more than 5 %" in said
    assert said.count("ttft_mean_s got worse by 50.0 %, but a side was deployed once") == 2
    assert "It counts as a regression" in said
    assert main(["compare", usual, slow, "--tolerance", "0.6"]) == 0
    assert main(["compare", slow, usual]) == 0
    capsys.readouterr()
    assert main(["compare", usual, slow, "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert found["worse"] is True
    assert {each["figure"] for each in found["regressions"]} == {"ttft_mean_s"}
    verdicts = {each["figure"]: each["verdict"] for each in found["findings"]}
    assert verdicts == {
        "ttft_mean_s": "worse",
        "failed": "not tested",
        "token_f1": "no clear difference",
        "exact_match": "not tested",
    }


def test_the_quality_gate_is_asked_for(
    usual: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One answer of twelve: no test calls that a difference, and nothing shows that it is none.
    worse = write(tmp_path / "worse", [0.100, 0.101, 0.099], [0.1] + [0.5] * 11)
    assert main(["compare", usual, worse]) == 0
    said = capsys.readouterr().out
    assert "gate:" not in said
    assert "quality gate" not in said
    assert main(["compare", usual, worse, "--quality-gate"]) == 5
    assert "gate: m@p adapter beside" in capsys.readouterr().out
    assert main(["compare", worse]) == 0
    assert main(["compare", worse, "--quality-gate", "--reference", "q"]) == 5
    said = capsys.readouterr().out
    assert "token_f1 is 93.3 % of the reference's" in said
    assert "not shown to be 95.0 %; equal answers pass in" in said


def test_wrong_input(tmp_path: Path, usual: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", usual, str(tmp_path)]) == 2
    assert "no benchmark.parquet there" in capsys.readouterr().err
    assert main(["compare", usual, "--reference", "q", "--json"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (["--reference", "q"], "--reference: not used in"),
        (["paper", "--reference", "q", "--json"], "--reference: not used in"),
        (["B", "--quality-gate", "--reference", "q"], "with B, the reference is A"),
        (["B", "--margin", "0.1"], "used with --quality-gate or --json"),
        (["paper", "--margin", "0.1", "--json"], "--margin: not used in"),
        (["--tolerance", "0"], "used with results as B"),
        (["paper", "--tolerance", "0.1"], "used with results as B"),
        (["paper", "--quality-gate"], "used with A alone or with results as B"),
    ],
)
def test_an_option_that_a_comparison_does_not_use_is_a_fault(
    usual: str, given: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [usual if each == "B" else each for each in given]
    assert main(["compare", usual, *given]) == 2
    assert remedy in capsys.readouterr().err


def test_better_hardware_that_is_not_faster_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row(
            key=profile,
            profile=profile,
            accelerator="A100",
            gpus=1,
            cpus=cpus,
            output_tokens_per_s=25.0,
            engine_thread_busy=0.97,
            bound="cpu launch",
        )
        for profile, cpus in (("1xa100-2cpu", 2), ("1xa100-4cpu", 4))
    ]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    write_rows(tmp_path / "cells/1xa100-2cpu/responses.parquet", RESPONSES, answers([0.5]))
    assert main(["compare", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (
        "not faster: m at 2 clients: 1xa100-4cpu against 1xa100-2cpu: +0.0 % tokens/s; both were"
        in said
    )
    assert main(["compare", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_faster"][0]["more"] == "1xa100-4cpu"


def test_the_paper_s_tables_are_a_result_set_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], usual: str
) -> None:
    rows = [
        row(model="standin-llama-3-8b", stands_in_for="llama-3-8b", profile="1xa100-1cpu",
            basis="emulated", e2e_mean_s=0.5, ngram_match=0.25, rouge_l=0.2, rouge_l_max=0.6)
    ]  # fmt: skip
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    assert main(["compare", str(tmp_path), "paper"]) == 0
    said = capsys.readouterr().out
    assert "n-gram match (%)" in said
    assert "81.34" in said
    assert "standin-llama-3-8b@1xa100-1cpu: a stand-in is many times smaller" in said
    assert "known inconsistencies of the paper:\n  1. " in said
    assert main(["compare", str(tmp_path), "paper", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"][0]["factor"] == pytest.approx(63.66 / 0.5)
    assert len(found["figures"]) == 5
    assert len(found["inconsistencies"]) == 14
    assert main(["compare", usual, "paper"]) == 2
    assert "no measured cell of a model that the paper has: llama-2-7b" in capsys.readouterr().err
