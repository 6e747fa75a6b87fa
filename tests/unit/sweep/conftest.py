"""A sweep that runs with fakes."""

from pathlib import Path

import pytest

from faked_sweep import FakedSweep


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakedSweep:
    """Runs sweeps with fakes, and notes what was done."""
    return FakedSweep(tmp_path, monkeypatch)
