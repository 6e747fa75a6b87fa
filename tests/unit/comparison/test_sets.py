from typing import Any

import numpy as np
import pytest

from made_rows import answers, repeats, result_set, row
from medsweep.comparison.sets import Comparison, compare_sets, compare_within
from medsweep.errors import InputError

FIGURES = {"ttft_mean_s": 0.1, "tpot_mean_s": 0.02, "e2e_mean_s": 1.5, "output_tokens_per_s": 300}


def measured(rng: np.random.Generator, factor: float = 1.0) -> list[dict[str, Any]]:
    """Three repeats of two load points with 4 % of noise; `factor` makes all of it slower."""
    return [
        row(
            load_point=point,
            repeat=repeat,
            **{
                figure: value * rng.normal(1, 0.04) * (1 / factor if value > 200 else factor)
                for figure, value in FIGURES.items()
            },
        )
        for point in ("c1", "c8")
        for repeat in (1, 2, 3)
    ]


def graded(rng: np.random.Generator, truth: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    return {"k": answers((truth + rng.normal(0, 0.05, len(truth))).tolist())}


def compare_made(rng: np.random.Generator, factor: float) -> Comparison:
    truth = rng.uniform(0.1, 0.6, 40)
    before = result_set(measured(rng), graded(rng, truth))
    return compare_sets(before, result_set(measured(rng, factor), graded(rng, truth)))


@pytest.mark.slow
def test_one_thing_under_two_names_differs_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(2024)
    runs = [compare_made(rng, factor=1.0) for _ in range(80)]
    assert {len(run.findings) for run in runs} == {12}
    # 5 % of families: 4 expected, more than 10 in 0.3 % of such tests.
    assert sum(any(each.is_clear for each in run.findings) for run in runs) <= 10


def test_a_real_slowdown_is_found_by_the_same_procedure() -> None:
    rng = np.random.default_rng(7)
    runs = [compare_made(rng, factor=1.6) for _ in range(10)]
    assert sum(bool(run.regressions(0.05)) for run in runs) >= 9
    faster = compare_made(rng, factor=0.5)
    assert faster.regressions(0.05) == []
    assert any(each.verdict == "better" for each in faster.findings)


def test_cells_are_matched_and_what_is_not_in_both_is_named() -> None:
    before = result_set([row(), row(load_point="c8"), row(profile="q"), row(profile="r")])
    after = result_set(
        [
            row(),
            row(load_point="c32"),
            row(profile="q", status="failed", reason="out of memory"),
            row(profile="new", status="refused", reason="does not fit"),
        ]
    )
    found = compare_sets(before, after)
    assert found.lost == {"m@q": "failed: out of memory"}
    assert found.only_before == [
        "m@p adapter at 8 clients",
        "m@q adapter at 2 clients",
        "m@r adapter at 2 clients",
    ]
    assert found.only_after == ["m@p adapter at 32 clients"]


def test_sets_without_anything_in_common_are_wrong_input() -> None:
    with pytest.raises(
        InputError,
        match="the first has m@p adapter at 2 clients, the second n@p adapter at 2 clients",
    ):
        compare_sets(result_set([row()]), result_set([row(model="n")]))


def test_circumstances_that_changed_are_named() -> None:
    before = result_set([row(driver="570", hostname="a")])
    after = result_set([row(driver="580", hostname="a")])
    assert compare_sets(before, after).circumstances == {"driver": (["570"], ["580"])}


def test_bases_are_never_in_one_comparison_or_family() -> None:
    """A clear difference of the answers of an emulated and an observed profile is not tested."""
    rng = np.random.default_rng(5)
    cells = {"a": ("p", "observed"), "b": ("q", "emulated"), "c": ("r", "emulated")}
    results = result_set(
        [row(key=key, profile=profile, basis=basis) for key, (profile, basis) in cells.items()],
        {key: answers(rng.uniform(0.1, 0.6, 40).tolist()) for key in cells},
    )
    bases = {each.subject: each.basis for each in compare_within(results).findings}
    assert bases == {
        "m@q adapter against m@p adapter": "emulated against observed",
        "m@r adapter against m@p adapter": "emulated against observed",
        "m@r adapter against m@q adapter": "emulated",
    }


def test_within_a_set_profiles_and_models_are_compared_in_pairs() -> None:
    rng = np.random.default_rng(5)
    good, bad = rng.uniform(0.4, 0.6, 200), rng.uniform(0.1, 0.2, 200)
    cells = {
        "a": ("m", "p", good),
        "b": ("m", "q", good),
        "c": ("n", "p", bad),
        "d": ("n", "q", bad),
    }
    results = result_set(
        [row(key=key, model=model, profile=profile) for key, (model, profile, _) in cells.items()],
        {key: answers(scores.tolist()) for key, (_, _, scores) in cells.items()},
    )
    found = compare_within(results)
    verdicts = {
        each.subject: (each.verdict, each.changed, each.pairs)
        for each in found.findings
        if each.figure == "token_f1"
    }
    assert verdicts == {
        "m@q adapter against m@p adapter": ("no clear difference", 0, 200),
        "n@p adapter against m@p adapter": ("worse", 200, 200),
        "n@q adapter against m@q adapter": ("worse", 200, 200),
        "n@q adapter against n@p adapter": ("no clear difference", 0, 200),
    }
    assert [(each.subject, each.reference, each.passes) for each in found.gates] == [
        ("m@q adapter", "p", True),
        # 200 equal pairs do not show that less than 5 % of so low a figure was lost.
        ("n@q adapter", "p", False),
    ]
    assert [each.subject for each in compare_within(results, "q").gates] == [
        "m@p adapter",
        "n@p adapter",
    ]
    with pytest.raises(InputError, match="no answers of profile 'x'; it has p, q"):
        compare_within(results, "x")
    with pytest.raises(InputError, match="no graded answers"):
        compare_within(result_set(repeats("ttft_mean_s", [1.0])))


def test_results_without_rows_are_wrong_input() -> None:
    with pytest.raises(InputError, match="the first has none, the second none"):
        compare_sets(result_set([]), result_set([]))
    with pytest.raises(InputError, match="no graded answers"):
        compare_within(result_set([]))
