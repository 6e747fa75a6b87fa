import pytest

from medsweep.loadgen.find_max import find_max


@pytest.mark.parametrize("capacity", [0.017, 0.9, 1.0, 37.0, 5000.0])
@pytest.mark.parametrize("start", [1.0, 40.0])
def test_finds_the_capacity(capacity: float, start: float) -> None:
    tried: list[float] = []

    def meets(rate: float) -> bool:
        tried.append(rate)
        return rate <= capacity

    highest, missed = find_max(meets, start_rps=start, lowest_rps=lambda: 0.001)
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
    assert find_max(never, start_rps=20.0, lowest_rps=lambda: 3.0) == (None, 5.0)
    assert tried == [20.0, 10.0, 5.0]
    assert find_max(never, start_rps=1.0, lowest_rps=lambda: 3.0) == (None, 1.0)
    highest, missed = find_max(lambda _: True, start_rps=1.0, lowest_rps=lambda: 0.1)
    assert highest == pytest.approx(1e5, rel=1)
    assert missed is None


def test_what_is_learnt_on_the_way_ends_a_hopeless_search() -> None:
    """One slot of 0.5 s: eight at a time suggest that an answer takes 4 s."""
    tried: list[float] = []

    def never(rate: float) -> bool:
        tried.append(rate)
        return False

    found = find_max(never, start_rps=2.0, lowest_rps=lambda: 1.0 if len(tried) > 1 else 0.1)
    assert (found, tried) == ((None, 1.0), [2.0, 1.0])


@pytest.mark.parametrize(
    ("gone_at", "found"), [(1, (None, None)), (2, (4.0, None)), (4, (8.0, 16.0))]
)
def test_a_server_that_is_gone_ends_the_search(
    gone_at: int, found: tuple[float | None, float | None]
) -> None:
    answers = iter([True, True, False][: gone_at - 1])
    assert find_max(lambda _: next(answers, None), start_rps=4.0, lowest_rps=lambda: 0.1) == found
