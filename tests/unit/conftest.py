"""One stand-in, fine-tuned once per run, for tests that need a real model; and virtual time."""

import asyncio
import fcntl
import json
import selectors
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medsweep.clock import Clock
from medsweep.datasets.load import load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.datasets.split import Split
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.recipe import Recipe
from medsweep.finetune.session import finetune
from medsweep.models import standin
from medsweep.models.catalog import MODELS
from medsweep.models.weights import identify

STANDIN = "standin-llama-3-8b"

Main = Callable[[Clock], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class FineTuned:
    """A finished fine-tune.

    Attributes:
        job: what was done.
        rows: what it reported, by epoch.
    """

    job: FineTuneJob
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def corpus() -> tuple[str, ...]:
    """The answers of the embedded corpus."""
    return tuple(pair.answer for pair in load_sources(DatasetSpec())[0].pairs)


@pytest.fixture(scope="session")
def session_cache(one_thread: None, cache: Path) -> Iterator[Path]:
    """Where this run's weights are; stand-ins learn for less than half of the usual time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSWEEP_CACHE", str(cache))
        patch.setitem(standin.RECIPE, "steps", 80)  # part of a stand-in's identity
        yield cache


@pytest.fixture(scope="session")
def fine_tuned(session_cache: Path, shared: Path) -> FineTuned:
    """A stand-in for Llama 3, fine-tuned on 64 pairs by the first worker that needs it."""
    pairs = load_sources(DatasetSpec())[0].pairs
    split = Split(tuple(pairs[:64]), tuple(pairs[300:306]), "hash-of-the-data", "70 of 600 pairs")
    job = FineTuneJob(
        recipe=Recipe(rank=8, alpha=16, dropout=0.05, learning_rate=1e-2, batch_size=4),
        weights=identify(MODELS[STANDIN], [pair.answer for pair in pairs[:100]]),
        split=split,
        folder=shared / "adapters" / "one",
        max_tokens=12,
        seed=7,
        provenance={"cpus": {"asked": 2}},
    )
    with (shared / "fine-tuned.jsonl").open("a+") as told:
        fcntl.flock(told, fcntl.LOCK_EX)
        told.seek(0)
        if not told.read():
            finetune(job, lambda row: told.write(json.dumps(row) + "\n"))
        told.seek(0)
        return FineTuned(job, [json.loads(line) for line in told])


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: so small a model gains nothing from more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class _VirtualSelector(selectors.DefaultSelector):
    """Time passes only while there is nothing to do, and then as fast as it is waited for."""

    TURN_S = 20e-6

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        self.now_s += self.TURN_S
        if not events and timeout:
            self.now_s += timeout
        return events


class _VirtualLoop(asyncio.SelectorEventLoop):
    """Sockets are real, time is not: hours of load in seconds, and the same every time."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s

    now = time


@pytest.fixture
def virtually() -> Callable[[Main], Any]:
    """Run a coroutine function, which takes the clock, in virtual time."""

    def run(main: Main) -> Any:
        with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, _VirtualLoop)
            return runner.run(main(loop))

    return run
