import pytest

from made_rows import answers, repeats, result_set
from medsweep.errors import InputError
from medsweep.sweep.aa import compare_twins, twin_sweep
from medsweep.sweep.plan import batch_cells
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


def test_one_repeat_or_no_cell_is_wrong_input() -> None:
    one = {"points": [{"concurrency": 2}], "repeats": 1}
    with pytest.raises(InputError, match="load.repeats is 1"):
        twin_sweep(make_spec(load=one))
    with pytest.raises(InputError, match="no cell can run: .*bfloat16"):
        twin_sweep(make_spec(cells=["distilgpt2@1xv100-1cpu"], serve={"dtype": "bfloat16"}))


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
    assert {each.subject for each in found.findings} == {"m@p adapter c2", "m@p adapter"}
