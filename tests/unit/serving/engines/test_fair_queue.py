from collections import Counter

import pytest

from medsweep.serving.engines.fair_queue import FairQueue

Item = tuple[str, int]


@pytest.fixture
def queue() -> FairQueue[Item]:
    return FairQueue(lambda item: item[0])


def served(queue: FairQueue[Item], slots: int, steps: int) -> list[list[Item]]:
    """A step that answers everything it is given: what each step took."""
    return [queue.take(slots) for _ in range(steps)]


def test_first_comes_first_within_a_name(queue: FairQueue[Item]) -> None:
    for number in range(5):
        queue.put(("a", number))
    assert queue.take(3) == [("a", 0), ("a", 1), ("a", 2)]
    assert len(queue) == 2
    assert queue.take(9) == [("a", 3), ("a", 4)]
    assert queue.take(9) == []
    assert not queue


def test_names_take_turns_however_much_waits_under_one(queue: FairQueue[Item]) -> None:
    for number in range(100):
        queue.put(("loud", number))
    first = queue.take(4)
    for number in range(3):
        queue.put(("quiet", number))
    steps = served(queue, 4, 2)
    assert first == [("loud", number) for number in range(4)]
    # From the moment it waits, the quiet name has every second place.
    assert [Counter(name for name, _ in step) for step in steps] == [
        {"loud": 2, "quiet": 2},
        {"loud": 3, "quiet": 1},
    ]


def test_nobody_starves_while_others_keep_coming(queue: FairQueue[Item]) -> None:
    names = [f"adapter{number}" for number in range(10)]
    waited: dict[str, int] = {}
    for name in names:
        queue.put((name, 0))
    for step in range(10):
        queue.put(("loud", step))
        for name, _ in queue.take(1):
            waited.setdefault(name, step)
    assert set(waited) == set(names)  # one slot, ten names: each within ten steps


def test_alike_is_one_name_and_one_key(queue: FairQueue[Item]) -> None:
    for item in [("a", 1), ("b", 1), ("a", 2), ("a", 1), ("b", 1), ("a", 1)]:
        queue.put(item)
    steps = [queue.take_alike(2, lambda item: item[1]) for _ in range(5)]
    assert steps == [
        [("a", 1), ("a", 1)],  # as many as fit
        [("b", 1), ("b", 1)],  # the other name's turn
        [("a", 2)],  # the longest waiting of the name decides
        [("a", 1)],
        [],
    ]


def test_peek_says_who_is_next(queue: FairQueue[Item]) -> None:
    for item in [("a", 1), ("a", 2), ("b", 1)]:
        queue.put(item)
    for _ in range(3):
        assert [queue.peek()] == queue.take(1)


def test_only(queue: FairQueue[Item]) -> None:
    assert not queue.only("a")
    queue.put(("a", 1))
    assert queue.only("a")
    queue.put(("b", 1))
    assert not queue.only("a")


def test_what_needs_no_answer_takes_no_place(queue: FairQueue[Item]) -> None:
    for item in [("a", 1), ("a", 2), ("b", 1), ("c", 3)]:
        queue.put(item)
    queue.discard(lambda item: item[1] == 1)
    assert len(queue) == 2
    assert queue.take(4) == [("a", 2), ("c", 3)]
