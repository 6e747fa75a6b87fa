from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.config import load_config
from medsweep.search.grid import PARAMETERS, grid, variant
from medsweep.search.spec import SearchSpec
from medsweep.sweep.finetune import finetune_job
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec

SWEEPS = Path(__file__).parents[3] / "jobs" / "sweeps"


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
    trials = [variant(job, point) for point in grid(spec, job)]
    assert len({trial.identity for trial in trials}) == 8
    assert all(trial.checkpoints is None for trial in trials)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rank": []}, "at least 1"),
        ({"rank": [4, 4]}, "a value is given twice"),
        ({"rank": [0]}, "greater than or equal to 1"),
        ({"dropout": [1.0]}, "less than 1"),
        ({"max_seq_length": [8]}, "greater than or equal to 16"),
        ({"metric": "accuracy"}, "token_f1"),
    ],
)
def test_faults(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SearchSpec.model_validate(settings)
