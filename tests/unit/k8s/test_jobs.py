"""The entrypoints in `jobs/`, without Ray."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
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
