import numpy as np
import pytest

from made_rows import answers, repeats, result_set, row
from medsweep.errors import InputError
from medsweep.sweep.aa import blind_spots, compare_twins, twin_sweep
from medsweep.sweep.batches import batch_cells
from support import make_spec

POINTS = {"points": [{"concurrency": 2}], "repeats": 3, "compare_base": True}


def test_a_cell_and_its_twin_are_one_batch_and_share_the_adapter() -> None:
    cells = ["distilgpt2@1xv100-1cpu", "gemma-1.1-7b@1xa100-2cpu"]
    resolved = twin_sweep(make_spec(name="n" * 40, cells=cells, load=POINTS))
    one, other = resolved.plan.cells
    assert other.name == f"{one.name}-twin"
    assert (one.adapter, one.dtype) == (other.adapter, other.dtype)
    assert list(resolved.plan.adapters) == [one.adapter]
    assert one.key != other.key
    assert len(one.key) == len(other.key)
    assert batch_cells(resolved.plan.cells, resolved.spec.cells_together) == [[one, other]]
    assert resolved.spec.name == "n" * 37 + "-aa"
    assert not resolved.spec.load.compare_base
    assert resolved.spec.load.deployments == 3
    given = twin_sweep(make_spec(cells=cells, load=POINTS | {"deployments": 2}))
    assert given.spec.load.deployments == 2


def test_one_repeat_or_no_cell_is_wrong_input() -> None:
    one = {"points": [{"concurrency": 2}], "repeats": 1}
    with pytest.raises(InputError, match="load.repeats is 1"):
        twin_sweep(make_spec(load=one))
    with pytest.raises(InputError, match="no cell can run: .*bfloat16"):
        twin_sweep(make_spec(cells=["distilgpt2@1xv100-1cpu"], serve={"dtype": "bfloat16"}))


def test_figures_in_which_no_difference_could_be_seen_are_blind_spots() -> None:
    """Deployments that differ by 1 % show a difference of 10 %, those that differ by 20 % not."""
    spread = {"ttft_mean_s": 0.01, "e2e_mean_s": 0.2}
    rng = np.random.default_rng(4)
    rows = [
        row(
            key=profile, profile=profile, deployment=deployment, repeat=deployment,
            **{figure: float(rng.normal(1, each)) for figure, each in spread.items()},
        )
        for profile in ("p", "p-twin")
        for deployment in (1, 2, 3, 4, 5)
    ]  # fmt: skip
    found = compare_twins(result_set(rows))
    assert [each.figure for each in blind_spots(found, 0.1)] == ["e2e_mean_s"]
    assert blind_spots(found, 10.0) == []
    single = compare_twins(result_set([each for each in rows if each["repeat"] == 1]))
    assert {each.figure for each in blind_spots(single, 10.0)} == set(spread)


def test_twins_are_compared_as_one_cell() -> None:
    rows = repeats("ttft_mean_s", [1.0, 1.01, 0.99], key="a")
    rows += repeats("ttft_mean_s", [1.5, 1.51, 1.49], key="b", profile="p-twin")
    found = compare_twins(result_set(rows, {"a": answers([0.5, 0.6]), "b": answers([0.5, 0.6])}))
    assert {each.figure: each.is_clear for each in found.findings} == {
        "ttft_mean_s": True,
        "failed": False,
        "token_f1": False,
        "exact_match": False,
    }
    assert {each.subject for each in found.findings} == {"m@p adapter at 2 clients", "m@p adapter"}
