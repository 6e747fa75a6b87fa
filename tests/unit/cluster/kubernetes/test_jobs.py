"""The entrypoints in `jobs/`, without Ray."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from crds import ROOT
from medsweep.cluster.kubernetes.render import SWEEP_VARIABLE
from support import make_spec

JOBS = sorted((ROOT / "jobs").glob("*.py"))


def test_the_jobs_of_every_stage_are_there() -> None:
    assert {"benchmark", "finetune", "report"} <= {path.stem for path in JOBS}


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_is_forty_lines_at_most(path) -> None:
    assert len(path.read_text().splitlines()) <= 40


def test_a_key_of_another_version_is_refused_before_anything_starts(tmp_path) -> None:
    spec = make_spec(cells=["distilgpt2@1xv100-1cpu"])
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "jobs" / "benchmark.py"),
            *("--cell", "0123456789abcdef", "--out", str(tmp_path)),
        ],
        env={**os.environ, SWEEP_VARIABLE: spec.model_dump_json()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "unknown cell of this version's plan '0123456789abcdef'" in done.stderr
    assert "Traceback" not in done.stderr
