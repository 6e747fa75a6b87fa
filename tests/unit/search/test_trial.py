from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.config import load_config
from medsweep.errors import StageError
from medsweep.finetune.epochs import EPOCH_FIGURES
from medsweep.finetune.recipe import Recipe
from medsweep.results.store import read_json
from medsweep.search import trial as module
from medsweep.search.record import PARAMETERS
from medsweep.search.spec import SearchSpec
from medsweep.search.trial import grid, run_trial, trial_job
from medsweep.sweep.finetune import finetune_job
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec

SWEEPS = Path(__file__).parents[3] / "jobs" / "sweeps"

POINT = {"max_seq_length": 64, "rank": 2, "alpha": 8, "dropout": 0.0}


class GivenUp(BaseException):
    """What Ray Tune raises in a trial that it stops is no Exception either."""


class Job:
    """A job that trains nothing, and remembers with what it was called."""

    def __init__(self) -> None:
        self.identity = "0123456789abcdef0123"
        self.recipe = Recipe(epochs=3)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the fine-tune by one that only reports; gives the jobs that it was called with."""
    called: list[Any] = []

    def finetune(job: Any, on_epoch: Any) -> None:
        called.append(job)
        for epoch in range(job.recipe.epochs + 1):
            figures = dict.fromkeys(("loss", *EPOCH_FIGURES), epoch / 10)
            on_epoch({"epoch": epoch, **figures, "tokens": 100, "seconds": 2.0})

    monkeypatch.setattr(module, "finetune", finetune)
    monkeypatch.setattr(module, "trial_job", lambda job, point: job)
    monkeypatch.setattr(module, "replace", lambda job, **_: job)
    monkeypatch.setattr(module, "_peak_gpu_memory_bytes", lambda: None)
    return called


def run(folder: Path, report: Any) -> None:
    job: Any = Job()
    run_trial(job, POINT, folder, report)


def test_each_epoch_is_recorded_before_it_is_told(tmp_path: Path, runs: list[Any]) -> None:
    told: list[int] = []

    def report(row: dict[str, Any]) -> None:
        record = read_json(tmp_path / "0123456789abcdef.json")
        assert record is not None
        assert record["rows"][-1] == row
        told.append(row["epoch"])

    run(tmp_path, report)
    assert told == [1, 2, 3]  # epoch 0 is the base model
    record = read_json(tmp_path / "0123456789abcdef.json")
    assert record is not None
    assert (record["status"], record["point"]) == ("finished", POINT)
    assert [path.name for path in tmp_path.iterdir()] == ["0123456789abcdef.json"]


def test_a_finished_trial_is_told_again_without_training(tmp_path: Path, runs: list[Any]) -> None:
    first: list[Any] = []
    again: list[Any] = []
    run(tmp_path, first.append)
    run(tmp_path, again.append)
    assert len(runs) == 1
    assert again == first


def test_a_trial_that_was_given_up_stays_so_if_it_is_given_up_again(
    tmp_path: Path, runs: list[Any]
) -> None:
    def give_up(row: dict[str, Any]) -> None:
        raise GivenUp

    for _ in range(2):
        with pytest.raises(GivenUp):
            run(tmp_path, give_up)
    assert len(runs) == 1
    # And if it may go on, it is trained anew; no epoch is told twice.
    told: list[int] = []
    run(tmp_path, lambda row: told.append(row["epoch"]))
    assert (told, len(runs)) == ([1, 2, 3], 2)
    record = read_json(tmp_path / "0123456789abcdef.json")
    assert record is not None
    assert [row["epoch"] for row in record["rows"]] == [1, 2, 3]


def test_a_trial_that_fails_is_recorded_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[Any]
) -> None:
    def fail(job: Any, on_epoch: Any) -> None:
        runs.append(job)
        raise StageError("16 tokens hold no prompt")

    monkeypatch.setattr(module, "finetune", fail)
    for _ in range(2):
        run(tmp_path, lambda _: pytest.fail("nothing to tell"))
    record = read_json(tmp_path / "0123456789abcdef.json")
    assert record is not None
    assert (record["status"], record["reason"]) == ("failed", "16 tokens hold no prompt")
    assert len(runs) == 1


@pytest.fixture(scope="module")
def job() -> Any:
    resolved = resolve(load_config(SweepSpec, SWEEPS / "small-search.yaml"))
    [adapter] = resolved.plan.adapters.values()
    return finetune_job(resolved, Path("/nowhere"), adapter)


def test_the_paper_s_table_1_is_the_whole_grid(job: Any) -> None:
    search = load_config(SweepSpec, SWEEPS / "paper-search.yaml").search
    assert search is not None
    points = grid(search, job)
    assert len(points) == len({tuple(point.values()) for point in points}) == 384
    assert all(tuple(point) == PARAMETERS for point in points)
    assert {point["max_seq_length"] for point in points} == {128, 256, 512, 1024, 2048, 4096}
    assert {point["dropout"] for point in points} == {0.0, 0.1, 0.25, 0.5}


def test_the_seed_decides_the_order(job: Any) -> None:
    spec = SearchSpec(rank=[1, 2, 3, 4], alpha=[1, 2, 3, 4])
    one, same, other = grid(spec, job), grid(spec, job), grid(spec, replace(job, seed=99))
    assert one == same
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, other))
    # What the grid leaves out is the recipe's.
    assert {point["max_seq_length"] for point in one} == {job.recipe.max_seq_length}


def test_every_trial_is_another_job(job: Any) -> None:
    spec = SearchSpec(rank=[2, 4], dropout=[0.0, 0.5], max_seq_length=[64, 128])
    trials = [trial_job(job, point) for point in grid(spec, job)]
    assert len({trial.identity for trial in trials}) == 8
    assert all(trial.checkpoints is None for trial in trials)
