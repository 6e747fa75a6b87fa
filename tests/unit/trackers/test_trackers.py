"""Results in MLflow and Weights & Biases, read back from the files that these write."""

import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

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


class FakeTrackingServer(BaseHTTPRequestHandler):
    """What MLflow's client asks of a tracking server, kept in memory (fake)."""

    runs: dict[str, dict[str, Any]]
    artifacts: Path

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _run(self, run_id: str) -> dict[str, Any]:
        run = self.runs[run_id]
        return {"run": {"info": run["info"], "data": {"tags": run["tags"]}}}

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        if address.path.endswith("/runs/get"):
            self._answer(self._run(query["run_id"]))
        else:
            missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
            self._answer(missing, 404)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        verb = self.path.rpartition("/mlflow/")[2]
        if verb == "experiments/create":
            self._answer({"experiment_id": "1"})
        elif verb == "runs/create":
            run_id = f"{len(self.runs):032x}"
            info = {
                "run_id": run_id,
                "run_uuid": run_id,
                "experiment_id": "1",
                "run_name": sent["run_name"],
                "status": "RUNNING",
                "lifecycle_stage": "active",
                "start_time": 1,
                "artifact_uri": f"file://{self.artifacts}",
            }
            self.runs[run_id] = {"info": info, "tags": sent.get("tags", []), "metrics": []}
            self._answer(self._run(run_id))
        elif verb == "runs/log-batch":
            run = self.runs[sent["run_id"]]
            run["metrics"] += sent["metrics"]
            run["tags"] += sent["tags"]
            self._answer({})
        elif verb == "runs/update":
            self.runs[sent["run_id"]]["info"]["status"] = sent["status"]
            self._answer({"run_info": self.runs[sent["run_id"]]["info"]})
        else:
            self._answer({})  # a search that finds nothing

    def log_message(self, *_: object) -> None:
        pass


def test_a_tracking_server_gets_every_row_and_standard_output_is_json_alone(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package("mlflow")
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    runs: dict[str, dict[str, Any]] = {}
    handler = type("Handler", (FakeTrackingServer,), {"runs": runs, "artifacts": tmp_path / "kept"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            assert main(["export", str(results), "--mlflow", url, "--json"]) == 0
        finally:
            server.shutdown()
            thread.join()
    outcome = json.loads(capsys.readouterr().out)
    parent = runs.pop(outcome["mlflow"]["run_id"])
    assert parent["info"]["status"] == "FINISHED"
    assert [run["info"]["status"] for run in runs.values()] == ["FINISHED", "FINISHED", "FAILED"]
    times = [
        metric["value"]
        for run in runs.values()
        for metric in run["metrics"]
        if metric["key"] == "ttft_mean_s"
    ]
    assert times == [0.125, 0.25]
    for name in ("benchmark.parquet", "report.html"):
        assert (tmp_path / "kept" / name).read_bytes() == (results / name).read_bytes()


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
