from dataclasses import replace

import pytest

from medsweep.comparison.finding import Finding, corrected, resamples_for, worst_first

SLOWER = Finding("m@p c2", "ttft_mean_s", 1.0, 1.2, 0.1, 0.3, 0.001, -1, "Welch")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "worse"),
        ({"after": 0.8}, "better"),
        ({"better": 1}, "better"),
        ({"better": 0}, "different"),
        ({"p_value": 0.2}, "no clear difference"),
        ({"p_value": None}, "not tested"),
        ({"after": 1.0}, "no clear difference"),
    ],
)
def test_verdict(change: dict[str, object], verdict: str) -> None:
    (found,) = corrected([replace(SLOWER, **change)])  # type: ignore[arg-type]
    assert found.verdict == verdict
    assert found.is_clear == (verdict in ("better", "worse", "different"))


def test_holm_is_over_the_family_and_leaves_out_what_was_not_tested() -> None:
    family = corrected([replace(SLOWER, p_value=p) for p in (0.02, None, 0.04)])
    assert [each.p_adjusted for each in family] == [pytest.approx(0.04), None, pytest.approx(0.04)]
    family = corrected([replace(SLOWER, p_value=0.02)] * 3)
    assert {each.verdict for each in family} == {"no clear difference"}


def test_each_basis_is_a_family_of_its_own() -> None:
    both = [replace(SLOWER, p_value=0.04), replace(SLOWER, p_value=0.03, basis="emulated")]
    assert [each.p_adjusted for each in corrected(both)] == [0.04, 0.03]


def test_a_regression_is_worse_by_more_than_the_tolerance() -> None:
    (found,) = corrected([SLOWER])
    assert found.is_regression(0.1)
    assert not found.is_regression(0.25)
    (better,) = corrected([replace(SLOWER, after=0.5)])
    assert not better.is_regression(0.0)
    (from_zero,) = corrected([replace(SLOWER, figure="failed", before=0.0, after=0.1)])
    assert from_zero.change is None
    assert from_zero.is_regression(0.5)


def test_a_family_of_any_size_can_still_find_something() -> None:
    for tests in (1, 100, 1000):
        least = 1 / (resamples_for(tests) + 1)
        assert least * tests <= 0.05


def test_order() -> None:
    family = [replace(SLOWER, p_adjusted=p) for p in (None, 0.5, 0.01)]
    assert [each.p_adjusted for each in worst_first(family)] == [0.01, 0.5, None]
