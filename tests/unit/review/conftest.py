"""Results whose answers a judge rates, and a server that answers as a judge does."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.loadgen.mock.server import MockServer, running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.review.rubric import shipped_rubric
from medsweep.review.votes import VOTES
from reviewed import results

AXES = shipped_rubric().axes
ADAPTER, BASE = "small-model on p, adapter", "small-model on p, base"
ITEMS, PAIRS = 7, 3  # of four questions; on one of them both answer alike

Body = dict[str, Any]
Speak = Callable[[Body], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a public dataset."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "sweep.yaml").write_text("dataset: {name: embedded}\n")
    return results(tmp_path / "results")


def data(body: Body) -> dict[str, str]:
    """What the prompt shows the judge."""
    lines = body["messages"][0]["content"].splitlines()
    return json.loads(next(line for line in lines if line.startswith('{"question"')))


def fair(body: Body) -> str:
    """Like answers with water, wherever they stand."""
    shown = data(body)
    if "A" in shown:
        liked = [letter for letter in "AB" if "Water" in shown[letter]]
        return json.dumps({"better": liked[0] if len(liked) == 1 else "neither"})
    good = any(word in shown["answer"] for word in ("Water", "Same"))
    return json.dumps({axis.name: len(axis.options) if good else 1 for axis in AXES})


async def judge(folder: Path, speak: Speak, *words: str, code: int = 0) -> tuple[Any, MockServer]:
    async with running_mock(MockTiming(), speak=speak) as server:
        command = ["judge", str(folder), "--url", server.base_url, "--questions", "9", *words]
        assert await asyncio.to_thread(main, command) == code
    [summary] = record(folder)["judges"].values()
    return summary, server


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "judge.json").read_text())


def votes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / VOTES).read_text().splitlines() if line]
