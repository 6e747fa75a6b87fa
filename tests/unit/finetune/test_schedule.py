import pytest

from medsweep.finetune.recipe import ScheduleShape
from medsweep.finetune.schedule import Schedule, on_plateau


def rates(shape: ScheduleShape, steps: int = 100, warmup: float = 0.03) -> list[float]:
    schedule = Schedule(1.0, steps, shape, warmup)
    return [schedule.rate(step) for step in range(steps)]


@pytest.mark.parametrize("shape", ["linear", "cosine", "constant"])
def test_the_rate_rises_to_its_peak(shape: ScheduleShape) -> None:
    assert rates(shape)[:4] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert rates(shape, warmup=0.0)[:2] == pytest.approx([1.0, 1.0], abs=0.011)
    assert rates(shape, steps=1) == [1.0]


def test_linear_is_a_straight_line_that_would_meet_zero_after_the_last_step() -> None:
    found = rates("linear")
    assert found[50] == pytest.approx(50 / 97)
    assert found[-1] == pytest.approx(1 / 97)


def test_cosine_is_high_for_longer_and_ends_flat() -> None:
    line, cosine = rates("linear"), rates("cosine")
    assert cosine[20] > line[20]
    assert 0 < cosine[-1] < line[-1] / 10
    # Half-way through the decay both are at half.
    schedule = Schedule(1.0, 103, "cosine", 3 / 103)
    assert schedule.rate(53) == pytest.approx(0.5)


def test_constant_stays() -> None:
    assert set(rates("constant")[3:]) == {1.0}


LOSSES = [3.0, 2.0, 1.5, 1.49, 1.48, 1.6]


@pytest.mark.parametrize(
    ("seen", "patience", "min_delta", "stops"),
    [
        (6, None, 0.0, False),
        (5, 1, 0.0, False),
        (6, 1, 0.0, True),
        (6, 2, 0.0, False),
        (4, 2, 0.1, False),
        (5, 2, 0.1, True),
        (1, 1, 0.0, False),
    ],
)
def test_on_plateau(seen: int, patience: int | None, min_delta: float, stops: bool) -> None:
    assert on_plateau(LOSSES[:seen], patience, min_delta) is stops


def test_many_small_falls_are_a_fall() -> None:
    # Each is below min_delta, but measured from the last lowest they add up.
    assert not on_plateau([2.0, 1.94, 1.88, 1.82], 3, 0.1)
