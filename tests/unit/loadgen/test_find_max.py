import pytest

from medsweep.loadgen.find_max import find_max


@pytest.mark.parametrize("capacity", [0.017, 0.9, 1.0, 37.0, 5000.0])
@pytest.mark.parametrize("start", [1.0, 40.0])
def test_finds_the_capacity(capacity: float, start: float) -> None:
    tried: list[float] = []

    def meets(rate: float) -> bool:
        tried.append(rate)
        return rate <= capacity

    highest, missed = find_max(meets, start_rps=start)
    assert highest is not None
    assert missed is not None
    assert highest <= capacity < missed <= highest * 1.05
    assert len(tried) == len(set(tried)) < 24


def test_nothing_meets_and_everything_does() -> None:
    highest, missed = find_max(lambda _: False)
    assert highest is None
    assert missed == pytest.approx(1e-3, rel=1)
    highest, missed = find_max(lambda _: True)
    assert highest == pytest.approx(1e5, rel=1)
    assert missed is None
