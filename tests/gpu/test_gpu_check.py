"""The GPU check in miniature: every stage runs on a CPU too, so that it does not rot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpu.__main__ import STAGES

pytestmark = pytest.mark.slow


def test_every_stage_runs_and_finds_nothing_wrong(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent / "platform"), str(tests)])
    done = subprocess.run(
        [sys.executable, "-m", "gpu", "--out", str(tmp_path), *STAGES],
        env={**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
