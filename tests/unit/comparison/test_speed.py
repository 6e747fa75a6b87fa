from typing import Any

import numpy as np
import pytest

from made_rows import repeats, row
from medsweep.comparison.finding import corrected
from medsweep.comparison.speed import compare_speed


def test_a_clear_slowdown_is_found_with_its_size() -> None:
    before = repeats("ttft_mean_s", [1.0, 1.01, 0.99])
    after = repeats("ttft_mean_s", [1.30, 1.31, 1.29])
    found = {each.figure: each for each in corrected(compare_speed("x", before, after))}
    assert set(found) == {"ttft_mean_s", "failed"}
    slower = found["ttft_mean_s"]
    assert (slower.verdict, slower.test) == ("worse", "Welch, 3 and 3 repeats")
    assert slower.change == pytest.approx(0.30)
    assert slower.low is not None
    assert 0.25 < slower.low < 0.30
    assert (found["failed"].verdict, found["failed"].test) == ("not tested", "no request failed")


def test_more_tokens_a_second_are_better() -> None:
    before = repeats("output_tokens_per_s", [100.0, 101.0, 99.0])
    after = repeats("output_tokens_per_s", [150.0, 151.0, 149.0])
    assert corrected(compare_speed("x", before, after))[0].verdict == "better"


def test_what_cannot_be_tested_says_why() -> None:
    one = repeats("ttft_mean_s", [1.0])
    many = repeats("ttft_mean_s", [1.0, 1.1])
    single = corrected(compare_speed("x", one, many))[0]
    assert (single.verdict, single.test) == ("not tested", "a single repeat has no spread")
    emulated = [{**each, "basis": "emulated"} for each in many]
    mixed = corrected(compare_speed("x", many, emulated))[0]
    assert (mixed.verdict, mixed.test) == ("not tested", "emulated against observed")


def failing(*failed: int) -> list[dict[str, object]]:
    return [row(failed=count, sent=200) for count in failed]


def test_failures_that_became_more_are_found() -> None:
    (found,) = corrected(compare_speed("x", failing(0, 1, 0, 2), failing(30, 25, 40, 25)))
    assert (found.figure, found.verdict, found.after) == ("failed", "worse", pytest.approx(0.15))
    assert found.p_value == pytest.approx(2 / 70)
    assert found.test == "permutation, 4 and 4 repeats"
    assert compare_speed("x", [row(sent=0)], failing(30)) == []


def test_failures_of_few_repeats_are_not_tested() -> None:
    """Sixty failures in one repeat are one event; by request they would be p = 1e-18."""
    (found,) = corrected(compare_speed("x", failing(0, 0, 0), failing(0, 60, 0)))
    assert (found.verdict, found.after) == ("not tested", pytest.approx(0.1))
    assert found.test == "too few: 3 and 3 repeats: p is at least 0.10"


def test_failures_of_two_bases_are_not_tested() -> None:
    emulated = [{**each, "basis": "emulated"} for each in failing(30, 25, 40, 25)]
    (found,) = compare_speed("x", failing(0, 1, 0, 2), emulated)
    assert (found.p_value, found.test) == (None, "emulated against observed")


def deployed(rng: np.random.Generator, deployments: int, repeats: int) -> list[dict[str, Any]]:
    """Repeats of one load point: deployments vary by 1 %, repeats of one by 0.3 %."""
    return [
        row(
            deployment=deployment,
            repeat=deployment * repeats + repeat,
            e2e_mean_s=level * rng.normal(1, 0.003),
        )
        for deployment, level in enumerate(rng.normal(1.0, 0.01, deployments), 1)
        for repeat in range(repeats)
    ]


def differing(deployments: int, repeats: int, runs: int = 600) -> float:
    """Share of comparisons of a cell with itself that find a difference."""
    rng = np.random.default_rng(deployments)
    clear = 0
    for _ in range(runs):
        pair = deployed(rng, deployments, repeats), deployed(rng, deployments, repeats)
        (found, _) = corrected(compare_speed("x", *pair))
        clear += found.is_clear
        assert found.is_of_deployments == (deployments == 1)
    return clear / runs


@pytest.mark.parametrize(("deployments", "repeats"), [(3, 1), (3, 2), (5, 3)])
@pytest.mark.slow
def test_deployments_that_vary_are_no_difference_where_a_cell_was_deployed_anew(
    deployments: int, repeats: int
) -> None:
    assert differing(deployments, repeats) <= 0.06


@pytest.mark.slow
def test_one_deployment_of_each_differs_and_that_is_said() -> None:
    """Repeats of one deployment do not show how much another would differ."""
    assert differing(1, 6) > 0.5


@pytest.mark.slow
def test_the_smallest_visible_difference_is_found_in_80_percent_over_deployments() -> None:
    rng = np.random.default_rng(8)
    found = 0
    sizes = []
    for _ in range(400):
        before, after = deployed(rng, 6, 2), deployed(rng, 6, 2)
        (null, _) = corrected(compare_speed("x", before, after))
        assert null.could_see is not None
        sizes.append(null.could_see)
    apart = float(np.mean(sizes))
    for _ in range(400):
        after = [{**each, "e2e_mean_s": each["e2e_mean_s"] + apart} for each in deployed(rng, 6, 2)]
        (finding, _) = corrected(compare_speed("x", deployed(rng, 6, 2), after))
        found += finding.is_clear
    assert found / 400 == pytest.approx(0.8, abs=0.06)


def test_what_was_compared_is_named() -> None:
    rng = np.random.default_rng(9)
    (both, failed) = compare_speed("x", deployed(rng, 3, 2), deployed(rng, 4, 2))
    assert both.test == "Welch, 3 and 4 deployments"
    assert failed.deployments == (3, 4)
    (mixed, _) = compare_speed("x", deployed(rng, 1, 3), deployed(rng, 4, 2))
    assert mixed.test == "Welch, 3 repeats and 4 deployments"
    assert mixed.is_of_deployments
