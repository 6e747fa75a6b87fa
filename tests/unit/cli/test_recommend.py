import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows


def results(folder: Path, **columns: Any) -> Path:
    """Write three repeats of one observed and one emulated cell."""
    rows = [
        {
            "sweep": "small",
            "model": "distilgpt2",
            "variant": "adapter",
            "profile": profile,
            "load_point": "c1",
            "status": "ok",
            "basis": basis,
            "repeat": repeat,
            "ttft_mean_s": 0.1 + repeat / 1000,
            "e2e_mean_s": 1.0,
            "token_f1": 0.3,
            "requests_per_s": 2.0,
            **columns,
        }
        for profile, basis in (("host", "observed"), ("1xv100-1cpu", "emulated"))
        for repeat in (1, 2, 3)
    ]
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    return folder


def test_bases_are_ranked_apart_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(results(tmp_path)), "--max-mean-ttft", "500ms"]) == 0
    observed, emulated = capsys.readouterr().out.split("emulated: ")
    assert "take: distilgpt2@host at c1" in observed
    assert "first: distilgpt2@1xv100-1cpu" in emulated
    assert "take" not in emulated


def test_programs_get_the_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(results(tmp_path))
    assert main(["recommend", folder, "--max-mean-ttft", "0.05", "--rate", "5", "--json"]) == 0
    [verdict] = json.loads(capsys.readouterr().out)["observed"]
    assert verdict["missed"] is True
    assert verdict["replicas"] == 3
    [check] = verdict["checks"]
    assert check["column"] == "ttft_mean_s"
    assert check["value"] == pytest.approx(0.102)


def test_a_folder_without_results_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(tmp_path)]) == 2
    assert "no benchmark.parquet" in capsys.readouterr().err
