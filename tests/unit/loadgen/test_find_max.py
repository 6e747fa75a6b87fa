import pytest

from medsweep.loadgen.find_max import find_max


@pytest.mark.parametrize("capacity", [0.017, 0.9, 1.0, 37.0, 5000.0])
@pytest.mark.parametrize("start", [1.0, 40.0])
def test_finds_the_capacity(capacity: float, start: float) -> None:
    tried: list[float] = []

    def meets(rate: float) -> bool:
        tried.append(rate)
        return rate <= capacity

    highest, missed = find_max(meets, start_rps=start, lowest_rps=0.001)
    assert highest is not None
    assert missed is not None
    assert highest <= capacity < missed <= highest * 1.05
    assert len(tried) == len(set(tried)) < 24


def test_nothing_meets_and_everything_does() -> None:
    tried: list[float] = []

    def never(rate: float) -> bool:
        tried.append(rate)
        return False

    # Below the lowest each request has the server to itself; slower and slower would take hours.
    assert find_max(never, start_rps=20.0, lowest_rps=3.0) == (None, 5.0)
    assert tried == [20.0, 10.0, 5.0]
    assert find_max(never, start_rps=1.0, lowest_rps=3.0) == (None, 1.0)
    highest, missed = find_max(lambda _: True, start_rps=1.0, lowest_rps=0.1)
    assert highest == pytest.approx(1e5, rel=1)
    assert missed is None
