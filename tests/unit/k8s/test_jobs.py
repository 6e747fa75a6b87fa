"""The entrypoints in `jobs/`, without Ray."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from crds import ROOT
from medsweep.errors import UnknownName
from medsweep.hardware.catalog import PROFILES
from medsweep.k8s.render import SWEEP_VARIABLE
from medsweep.sweep.resolve import resolve
from support import make_spec

SERVED = "distilgpt2@1xv100-1cpu"
JOBS = sorted((ROOT / "jobs").glob("*.py"))


def test_the_jobs_of_every_stage_are_there() -> None:
    assert {"benchmark", "finetune", "serve"} <= {path.stem for path in JOBS}


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_is_forty_lines_at_most(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`jobs/serve.py`, which returns what it would serve and where."""
    spec = importlib.util.spec_from_file_location("serve", ROOT / "jobs" / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "build_application", lambda *served: served)
    monkeypatch.setenv(SWEEP_VARIABLE, make_spec(cells=[SERVED]).model_dump_json())
    return module


def test_a_service_finds_its_cell_by_key_as_by_name(serve: ModuleType) -> None:
    """The renderer knows the key; the chart, which plans nothing, the name."""
    (cell,) = resolve(make_spec(cells=[SERVED]), here=False).plan.runnable
    by_key, by_name = (
        serve.application({"cell": word, "out": "/results"}) for word in (cell.key, cell.name)
    )
    assert by_key[:2] == by_name[:2]
    config, profile, models, weights = by_key
    assert weights == resolve(make_spec(cells=[SERVED]), here=False).weights[cell.model.name]
    assert models[config.base] == cell.model
    assert profile is PROFILES["1xv100-1cpu"]
    assert [str(folder) for folder in config.adapters.values()] == [
        f"/results/small/adapters/standin-distilgpt2-{cell.adapter}"
    ]


def test_a_service_of_no_cell_of_the_sweep_is_refused(serve: ModuleType) -> None:
    with pytest.raises(UnknownName, match="cell of this version's plan"):
        serve.application({"cell": "0123456789abcdef", "out": "/results"})


@pytest.mark.parametrize("arguments", [("benchmark", "--cell"), ("finetune", "--adapter")])
def test_a_key_of_another_version_is_refused_before_anything_starts(
    arguments: tuple[str, str], tmp_path: Path
) -> None:
    job, flag = arguments
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "jobs" / f"{job}.py"),
            *(flag, "0123456789abcdef", "--out", str(tmp_path)),
        ],
        env={**os.environ, SWEEP_VARIABLE: make_spec(cells=[SERVED]).model_dump_json()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "of this version's plan '0123456789abcdef'" in done.stderr
    assert "Traceback" not in done.stderr


class Answers(BaseHTTPRequestHandler):
    """A served model, behind a key."""

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "base"}, {"id": "adapter"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, asked["model"]) == ("/v1/completions", "adapter")
        self._answer({"choices": [{"text": "an answer"}]})

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, value: object) -> None:
        good = self.headers["Authorization"] == "Bearer right"
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())


def check(place: str, key: str = "right") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "check.py"), place],
        env={**os.environ, "MEDSWEEP_API_KEY": key},
        capture_output=True,
        text=True,
    )


def test_the_check_asks_a_served_model() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        done = check(url)
        assert (done.returncode, done.stdout) == (0, f"{url}: ok\n"), done.stderr
        refused = check(url, "wrong")
        server.shutdown()
    assert (refused.returncode, refused.stderr) == (
        4,
        f"medsweep: {url}: HTTP Error 401: Unauthorized\n",
    )
    gone = check(url)
    assert gone.returncode == 4
    assert "Connection refused" in gone.stderr


def test_the_check_writes_with_the_results_and_leaves_nothing(tmp_path: Path) -> None:
    done = check(str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}: ok\n"), done.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("no folder")
    done = check(str(tmp_path / "file"))
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
