from typing import Any

import pytest

torch = pytest.importorskip("torch")

from medsweep.serving.engines import kv  # noqa: E402
from medsweep.serving.engines.kv import Slots  # noqa: E402

HEADS, WIDTH = 2, 3


def filled(rows: list[list[float]]) -> tuple[list[tuple[Any, Any]], list[int]]:
    """Two blocks' keys and values of a padded prefill, made by hand, and the padding."""
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    padded = torch.tensor(
        [[-1.0] * (width - len(row)) + [float(one) for one in row] for row in rows]
    )
    whole = padded[:, None, :, None].expand(-1, HEADS, -1, WIDTH)
    return [(whole, whole + 100), (whole + 10, whole + 110)], padding


def make(rows: int, tokens: int = 4 * kv.BLOCK, longest: int = 0) -> Slots:
    like = torch.zeros(1, HEADS, 1, WIDTH)
    return Slots(rows, tokens, [(like, like)] * 2, longest=longest)


def admit(slots: Slots, rows: list[list[float]], need: int = 8) -> None:
    layers, padding = filled(rows)
    slots.admit(layers, padding, [need] * len(rows))


def step(
    slots: Slots, values: list[float], rows: int | None = None, window: int | None = None
) -> tuple[list[list[float]], list[int]]:
    """One decoding step: what each row then sees of the first block, and the positions."""
    running = len(values)
    values = [*values, *[99.0] * ((rows or running) - running)]
    inputs = slots.step(len(values), window or slots.longest + 1)
    new = torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, HEADS, 1, WIDTH)
    keys, kept_values = slots.update(new, new + 100, 0)
    slots.update(new + 10, new + 110, 1)
    positions = inputs["position_ids"][:running, 0].tolist()
    slots.advance()
    slots.advance_host()
    mask = inputs["attention_mask"][:, 0, 0]
    assert keys.shape[2] == slots.get_seq_length() == mask.shape[1]
    seen = [row[0, :, 0][allowed].tolist() for row, allowed in zip(keys, mask, strict=True)]
    of_values = [row[0, :, 0][allowed] for row, allowed in zip(kept_values, mask, strict=True)]
    assert [(row - 100).tolist() for row in of_values] == seen
    return seen[:running], positions


def test_rows_of_several_lengths_see_their_own_tokens_only() -> None:
    slots = make(4)
    admit(slots, [[1, 2, 3], [4]])
    seen, positions = step(slots, [5, 6])
    assert seen == [[1, 2, 3, 5], [4, 6]]
    assert positions == [3, 1]


def test_padding_may_be_behind_tokens_that_rows_share() -> None:
    slots = make(4)
    # Both begin with 1, 2; the second row has one token less, so that one is padding.
    layers, _ = filled([[1, 2, 3, 4], [1, 2, -1, 5]])
    slots.admit(layers, [0, 1], [8, 8], shared=2)
    assert step(slots, [6, 7]) == ([[1, 2, 3, 4, 6], [1, 2, 5, 7]], [4, 3])


def test_a_row_joins_behind_and_the_last_takes_the_place_of_one_that_leaves() -> None:
    slots = make(3)
    admit(slots, [[1, 2], [3]])
    step(slots, [4, 5])
    admit(slots, [[6, 7, 8]])
    seen, _ = step(slots, [9, 10, 11])
    assert seen == [[1, 2, 4, 9], [3, 5, 10], [6, 7, 8, 11]]
    slots.evict(0)
    seen, positions = step(slots, [12, 13])
    assert seen == [[6, 7, 8, 11, 12], [3, 5, 10, 13]]
    assert positions == [4, 3]
    slots.evict(1)
    slots.evict(0)
    admit(slots, [[20]])
    assert step(slots, [21]) == ([[20, 21]], [1])


@pytest.fixture
def blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv, "BLOCK", 2)


@pytest.mark.usefixtures("blocks_of_two")
def test_slots_grow_for_a_longer_row_and_keep_what_they_hold() -> None:
    slots = make(2, tokens=16)
    admit(slots, [[1, 2]], need=3)
    step(slots, [3])
    assert slots.capacity == 4
    admit(slots, [[4, 5, 6]], need=7)
    assert (slots.capacity, slots.slots) == (8, 2)
    assert step(slots, [7, 8]) == ([[1, 2, 3, 7], [4, 5, 6, 8]], [3, 3])


@pytest.mark.usefixtures("blocks_of_two")
def test_longer_sequences_leave_room_for_fewer() -> None:
    slots = make(4, tokens=16)
    assert slots.has_room([4, 4, 4, 4])
    assert not slots.has_room([2] * 5)  # rows
    assert slots.has_room([6, 2])
    assert not slots.has_room([6, 2, 2])  # 3 slots of 6
    assert slots.could_hold(16)
    assert not slots.could_hold(17)
    admit(slots, [[1]], need=8)
    assert slots.has_room([8])
    assert not slots.has_room([2, 2])


@pytest.mark.usefixtures("blocks_of_two")
def test_slots_shrink_when_more_rows_need_the_memory() -> None:
    slots = make(4, tokens=16, longest=8)
    assert (slots.capacity, slots.slots) == (4, 4)
    admit(slots, [[1, 2]], need=8)
    assert (slots.capacity, slots.slots) == (8, 2)
    admit(slots, [[3]], need=4)
    slots.evict(0)
    admit(slots, [[4], [5], [6]], need=2)
    assert (slots.capacity, slots.slots) == (4, 4)
    assert step(slots, [7, 8, 9, 10])[0] == [[3, 7], [4, 8], [5, 9], [6, 10]]


@pytest.mark.usefixtures("blocks_of_two")
def test_rows_without_a_sequence_and_a_wide_window_change_nothing() -> None:
    slots = make(4, tokens=32, longest=8)
    admit(slots, [[1, 2], [3]])
    for number in range(3):
        seen, positions = step(slots, [10 + number, 20 + number], rows=4, window=8)
    assert (seen, positions) == ([[1, 2, 10, 11, 12], [3, 20, 21, 22]], [4, 3])
    assert slots.lengths.tolist() == [5, 4, 0, 0]
    admit(slots, [[5, 6]])
    assert step(slots, [1, 1, 7], rows=4, window=8)[0][2] == [5, 6, 7]


def test_nothing_is_left_of_a_row_that_was_not_a_number() -> None:
    slots = make(2)
    admit(slots, [[1, 2], [float("nan")] * 3])
    slots.evict(0)
    slots.evict(0)
    admit(slots, [[5]])
    inputs = slots.step(1, 8)
    new = torch.ones(1, HEADS, 1, WIDTH)
    for each in slots.update(new, new, 0):
        assert not each.isnan().any()
    assert inputs["position_ids"].tolist() == [[1]]
