"""Results in MLflow and Weights & Biases, read back from the files that these write."""

import json
import struct
from pathlib import Path

import pytest
import yaml

from made_rows import row
from medsweep import errors
from medsweep.cli import main
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows
from support import package

ROWS = [
    row(cell="m@host", repeat=1, ttft_mean_s=0.125, cpus=2, reason=None),
    row(cell="m@host", repeat=2, ttft_mean_s=0.25, cpus=2, reason=None),
    row(cell="n@host", repeat=None, status="failed", reason="no memory", ttft_mean_s=None),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    write_rows(folder / "benchmark.parquet", BENCHMARK, ROWS)
    (folder / "report.html").write_text("<p>page</p>")
    return folder


def read_run(folder: Path) -> dict[str, object]:
    """Read a run of MLflow's file store: a file per tag, parameter and metric."""

    def files(kind: str) -> dict[str, str]:
        return {file.name: file.read_text() for file in (folder / kind).glob("*")}

    metrics = {
        name: [line.split() for line in text.splitlines()]
        for name, text in files("metrics").items()
    }
    return {
        "meta": yaml.safe_load((folder / "meta.yaml").read_text()),
        "tags": files("tags"),
        "params": files("params"),
        "metrics": {name: float(values[0][1]) for name, values in metrics.items()},
    }


def test_a_file_store_of_mlflow_has_a_run_per_row(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    store = tmp_path / "runs"
    command = ["export", str(results), "--mlflow", str(store), "--json"]
    assert main(command) == 0
    outcome = json.loads(capsys.readouterr().out)
    runs = {file.parent.name: read_run(file.parent) for file in store.glob("*/*/meta.yaml")}
    parent = runs.pop(outcome["mlflow"]["run_id"])
    assert outcome["mlflow"]["written"] is True
    assert parent["meta"]["run_name"] == "small"
    artifacts = Path(parent["meta"]["artifact_uri"].removeprefix("file://"))
    for name in ("benchmark.parquet", "report.html"):
        assert (artifacts / name).read_bytes() == (results / name).read_bytes()
    assert len(runs) == len(ROWS)
    by_name = {run["meta"]["run_name"]: run for run in runs.values()}
    first = by_name[f"m@host {ROWS[0]['variant']} {ROWS[0]['load_point']} repeat 1"]
    assert first["params"]["model"] == ROWS[0]["model"]
    assert first["params"]["cpus"] == "2"
    assert first["metrics"]["ttft_mean_s"] == 0.125
    assert first["tags"]["status"] == "ok"
    assert first["tags"]["mlflow.parentRunId"] == outcome["mlflow"]["run_id"]
    assert "reason" not in first["tags"]
    numbers = {each.name for each in BENCHMARK if each.kind in ("integer", "number")}
    held = {*first["params"], *first["metrics"]}
    assert {name for name in numbers if ROWS[0][name] is not None} <= held
    failed = next(run for run in runs.values() if run["tags"]["status"] == "failed")
    assert failed["tags"]["reason"] == "no memory"
    assert "ttft_mean_s" not in failed["metrics"]
    # FAILED and FINISHED as in mlflow.entities.RunStatus.
    assert (failed["meta"]["status"], first["meta"]["status"]) == (4, 3)

    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)["mlflow"]
    assert again == {**outcome["mlflow"], "written": False}
    assert len(list(store.glob("*/*/meta.yaml"))) == len(ROWS) + 1


def wandb_strings(file: Path) -> bytes:
    """Return the records of a .wandb file without the headers of its log (LevelDB's format)."""
    data, place, records = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length = struct.unpack_from("<H", data, place + 4)[0]
        records += data[place + 7 : place + 7 + length]
        place += 7 + length
    return records


def test_an_offline_folder_of_wandb_has_a_run_per_row(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package("wandb")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    assert main(["export", str(results), "--wandb", str(tmp_path / "off"), "--json"]) == 0
    folders = [Path(each) for each in json.loads(capsys.readouterr().out)["wandb"]]
    assert len(folders) == len(ROWS) + 1
    held = [wandb_strings(next(folder.glob("*.wandb"))) for folder in folders]
    assert b"ttft_mean_s" in held[0]
    assert b"0.125" in held[0]
    assert b"0.25" in held[1]
    assert b"no memory" in held[2]
    assert b"benchmark.parquet" in held[3]


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    tracker: str,
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util
    import sys

    monkeypatch.setitem(sys.modules, tracker, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(results), f"--{tracker}", str(tmp_path / "x")]) == 4
    assert f"pip install 'medsweep[{tracker}]'" in capsys.readouterr().err


def test_something_to_export_to_is_required(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(results)]) == errors.InputError.exit_code
    assert "give --mlflow DIR|URL, --wandb DIR, or both" in capsys.readouterr().err
