"""What `make` says where Python cannot run MedSweep."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def without_venv(tmp_path: Path) -> Path:
    """A Python that can import nothing, as on a Debian without python3-venv (fake)."""
    python = tmp_path / "python-without-venv"
    python.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.13.1 && exit\n'
        "echo Traceback: No module named ensurepip >&2\nexit 1\n"
    )
    python.chmod(0o755)
    return python


def installed(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return subprocess.run(
        ["make", f"PYTHON={python}", "install"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},  # without the flags of a make that runs the tests
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_without_venv_is_named_without_a_traceback(
    without_venv: Path, tmp_path: Path
) -> None:
    done = installed(str(without_venv), tmp_path)
    assert done.returncode == 2
    assert "MedSweep needs Python 3.11 or newer with venv; found Python 3.13.1." in done.stderr
    assert "python3-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_is_missing_is_named(tmp_path: Path) -> None:
    done = installed("python9", tmp_path)
    assert done.returncode == 2
    assert "MedSweep needs Python 3.11 or newer with venv; found no python9." in done.stderr
    assert "not found" not in done.stderr
