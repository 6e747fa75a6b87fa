"""One stand-in, fine-tuned once a session, for every test that needs a real model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
def session_cache(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the session's weights are; stand-ins learn for less than half of the usual time."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSWEEP_CACHE", str(folder))
        patch.setitem(standin.RECIPE, "steps", 80)
        yield folder


@pytest.fixture(scope="session")
def fine_tuned(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """A stand-in for Llama 3, fine-tuned on 64 pairs."""
    pairs = load_sources(DatasetSpec())[0].pairs
    split = Split(tuple(pairs[:64]), tuple(pairs[300:306]), "hash-of-the-data", "70 of 600 pairs")
    job = FineTuneJob(
        recipe=Recipe(rank=8, alpha=16, dropout=0.05, learning_rate=1e-2, batch_size=4),
        weights=identify(MODELS[STANDIN], [pair.answer for pair in pairs[:100]]),
        split=split,
        folder=tmp_path_factory.mktemp("adapters") / "one",
        max_tokens=12,
        seed=7,
        provenance={"cpus": {"asked": 2}},
    )
    rows: list[dict[str, Any]] = []
    finetune(job, lambda row: rows.append(dict(row)))
    return FineTuned(job, rows)


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: so small a model gains nothing from more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
