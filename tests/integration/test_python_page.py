"""The page about Python, executed as it stands, as a notebook does: with an event loop running."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import medsweep as ms
from support import SWEEP, Story, mock_servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


@pytest.fixture
def folder(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the page's sweep and the results of its run."""
    (sweep,) = blocks("yaml")
    assert yaml.safe_load(sweep) == yaml.safe_load(SWEEP), "the page's sweep is the one that ran"
    (tmp_path / "sweep.yaml").write_text(sweep)
    shutil.copytree(story.runner.results, tmp_path / "results" / "small")
    monkeypatch.setenv("MEDSWEEP_CACHE", story.runner.environment["MEDSWEEP_CACHE"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mock_server() -> Iterator[str]:
    with mock_servers() as start:
        yield start("--ttft-s", "0.02", "--gap-s", "0.002", "--tokens", "5").removesuffix("/v1")


async def test_the_page_runs(folder: Path, mock_server: str) -> None:
    code = blocks("python")
    assert len(code) == 6
    names: dict[str, Any] = {}
    assert asyncio.get_running_loop().is_running()
    for block in code:
        exec(block.replace("http://127.0.0.1:8000", mock_server), names)
    assert set(names["rows"]["status"]) == {"ok"}
    assert len(names["requests"]) > 0
    assert len(names["answers"]) > 0
    assert names["page"] == Path("results/small/report.html")
    assert set(names["ranking"].to_pandas()["basis"]) == {"observed", "emulated"}
    assert list(names["measured"].to_pandas()["load_point"]) == ["c1", "c8"]
    assert set(names["measured"].to_pandas()["ok"]) == {64}
    assert len(names["figures"]) == 9
    assert len(names["comparison"]) > 0
    assert len(names["comparison"].regressions) == 0
    assert isinstance(names["results"], ms.Results)
