"""What several kinds of test share: tools of the machine, and `medsweep` run as a user runs it."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

import medsweep
from medsweep.finetune.adapter import WEIGHTS_FILE
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.recipe import Recipe
from medsweep.sweep.spec import SweepSpec

SOURCES = {
    "chromium": "the system's package chromium has it",
    "helm": "`make fetch` fetches it",
    "kubectl": "`make fetch` fetches it",
    "prometheus": "the system's package prometheus has it",
    "promtool": "the system's package prometheus has it",
}
"""Where the programs that some tests need come from."""

SWEEP = """\
name: small
seed: 3
stand_ins: true
cells: [distilgpt2@1xv100-1cpu, distilgpt2@host]
finetune: {epochs: 1, batch_size: 32, learning_rate: 1.5e-2, max_seq_length: 256, dropout: 0.0}
load:
  points:
    - {concurrency: 2, requests: 12}
    - {rate: 8, arrivals: poisson, requests: 12}
  repeats: 2
  max_tokens: 8
  timeout_s: 30
  compare_base: true
cells_together: 1
"""


PAUSED = """\
import runpy, sys, time
from pathlib import Path
from medsweep.monitoring.prometheus import LiveMetrics

profile, answered, resumed = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
count = LiveMetrics.request

def pause(self, labels, record):
    count(self, labels, record)
    if labels["profile"] == profile:
        answered.touch()
        while not resumed.exists():
            time.sleep(0.05)

LiveMetrics.request = pause
del sys.argv[:4]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A program that runs another, whose file and arguments follow its own three: a profile and two
files. It stops at the first answer from the profile, makes the first file, and continues when the
second is there. This stops the driver, which takes no further answers; the load generator is not
stopped."""


def change_job(job: FineTuneJob, **changes: Any) -> FineTuneJob:
    """Return the job with other values for fields of its own or of its recipe."""
    recipe = {name: changes.pop(name) for name in [*changes] if name in Recipe.model_fields}
    return replace(job, recipe=job.recipe.changed(**recipe), **changes)


def wait_until_over(pids: Sequence[int]) -> None:
    """Wait until processes have ended, though nobody may reap them, as where no init does."""
    deadline_s = time.monotonic() + 60
    while left := [pid for pid in pids if not _is_over(pid)]:
        assert time.monotonic() < deadline_s, f"processes {left} still run"
        time.sleep(0.02)


def _is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def skip(message: str) -> NoReturn:
    """Skip a test that lacks something of the machine; in CI, which installs it all, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{message}; CI must install it")
    pytest.skip(message)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two adapters have the same weights, but for the order of a processor's sums."""
    import torch
    from safetensors.torch import load_file

    first, second = (load_file(folder / WEIGHTS_FILE) for folder in (one, other))
    return first.keys() == second.keys() and all(
        torch.allclose(first[name], second[name], atol=1e-3) for name in first
    )


def write_card(folder: Path, model: str = "base", base: Path = Path("/nowhere")) -> None:
    """Write an `adapter.json` into a folder; the rest of the adapter is not there."""
    card = {"model": model, "base": str(base), "template": "llama-3", "stop_tokens": []}
    (folder / "adapter.json").write_text(json.dumps({**card, "sha256": "0" * 64}))


def adapter_of(folder: Path, files: Mapping[str, bytes], model: str = "base") -> Path:
    """Write an adapter with these files into a new folder, and list them."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_card(folder, model)
    card = json.loads((folder / "adapter.json").read_text())
    card |= {"sha256": hashes["adapter_model.safetensors"], "files": hashes}
    (folder / "adapter.json").write_text(json.dumps(card))
    return folder


def tool(name: str) -> str:
    """Return a program's path, from PATH, MEDSWEEP_TOOLS or .cache/tools, or skip."""
    folder = os.environ.get("MEDSWEEP_TOOLS", Path(__file__).parents[1] / ".cache" / "tools")
    path = shutil.which(name) or shutil.which(name, path=folder)
    if path is None:
        skip(f"{name} is not installed: {SOURCES[name]}")
    return path


def package(name: str) -> Any:
    """Import a package of an extra, or skip."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip(f"{name} is not installed: .venv/bin/pip install {name.replace('_', '-')}")


@dataclass
class Runner:
    """Runs `medsweep` as a user does, in a process of its own."""

    folder: Path
    environment: dict[str, str]

    @property
    def results(self) -> Path:
        """Folder of the sweep's results."""
        return self.folder / "out" / "small"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of one verb."""
        return [sys.executable, "-m", "medsweep", *arguments]

    def start(self, *pause: str) -> subprocess.Popen[str]:
        """Start the sweep; its standard error can be read line by line.

        Args:
            pause: arguments of `PAUSED`; without them the run does not stop.
        """
        command = self.command(
            "run", str(self.folder / "small.yaml"), "--out", str(self.folder / "out")
        )
        if pause:
            program = str(Path(medsweep.__file__).with_name("__main__.py"))
            command[1:3] = ["-c", PAUSED, *pause, program]
        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cell_files(self) -> dict[str, int]:
        """Return the time of last change of each cell.json, by key."""
        return {
            path.parent.name: path.stat().st_mtime_ns
            for path in self.results.glob("cells/*/cell.json")
        }


@dataclass
class Story:
    """What happened: a run that was killed, one that finished it, and one with nothing to do."""

    runner: Runner
    scraped: str
    killed_after: dict[str, int]
    finished: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]
    files_between: dict[str, int]
    pids: tuple[int, int]


def make_spec(**changes: Any) -> SweepSpec:
    """Return a sweep of stand-ins with some fields changed."""
    values: dict[str, Any] = {
        "name": "small",
        "stand_ins": True,
        "cells": "paper",
        "load": {"points": [{"concurrency": 2}], "repeats": 2},
    }
    return SweepSpec.model_validate({**values, **changes})


MockServers = Callable[..., str]
"""Starts a mock server with some flags; returns the root of its API."""


@contextmanager
def mock_servers() -> Iterator[MockServers]:
    """Give a function that starts mock servers, which end with the block."""
    with ExitStack() as servers:

        def start(*flags: str) -> str:
            command = [sys.executable, "-m", "medsweep.loadgen.mock.server", "--die-with-stdin"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            server = subprocess.Popen([*command, *flags], **pipes)
            servers.callback(server.communicate)  # closes its standard input
            assert server.stdout is not None
            return f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}/v1"

        yield start


@contextmanager
def serving(
    *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `medsweep serve` on a free port; give the process and its URL when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "medsweep", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("serving at http://"), process.communicate()
        yield process, ready.split()[2].removesuffix("/v1;")
    finally:
        process.kill()
        process.wait()
