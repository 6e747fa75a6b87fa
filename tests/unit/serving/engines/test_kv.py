import pytest

torch = pytest.importorskip("torch")

from medsweep.serving.engines import kv  # noqa: E402
from medsweep.serving.engines.kv import Slots  # noqa: E402

HEADS, WIDTH = 2, 3


class Prefilled:
    """What transformers' cache holds after a prefill, made by hand."""

    def __init__(self, rows: list[list[float]]) -> None:
        width = max(map(len, rows))
        self.padding = [width - len(row) for row in rows]
        padded = torch.tensor(
            [[-1.0] * (width - len(row)) + [float(one) for one in row] for row in rows]
        )
        whole = padded[:, None, :, None].expand(-1, HEADS, -1, WIDTH)
        self.layers = [kv._Layer(whole, whole + 100), kv._Layer(whole + 10, whole + 110)]
        self._width = width

    def get_seq_length(self) -> int:
        return self._width


def admit(slots: Slots, rows: list[list[float]]) -> None:
    prefilled = Prefilled(rows)
    slots.admit(prefilled, prefilled.padding)


def step(slots: Slots, values: list[float]) -> tuple[list[list[float]], list[int]]:
    """One decoding step: what each row then sees of the first block, and the positions."""
    inputs = slots.step("cpu")
    new = torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, HEADS, 1, WIDTH)
    keys, kept_values = slots.update(new, new + 100, 0)
    slots.update(new + 10, new + 110, 1)
    mask = inputs["attention_mask"][:, 0, 0]
    assert keys.shape[2] == slots.get_seq_length() == mask.shape[1]
    seen = [row[0, :, 0][allowed].tolist() for row, allowed in zip(keys, mask, strict=True)]
    of_values = [row[0, :, 0][allowed] for row, allowed in zip(kept_values, mask, strict=True)]
    assert [(row - 100).tolist() for row in of_values] == seen
    return seen, inputs["position_ids"][:, 0].tolist()


def test_rows_of_several_lengths_see_their_own_tokens_only() -> None:
    slots = Slots(rows=4)
    admit(slots, [[1, 2, 3], [4]])
    seen, positions = step(slots, [5, 6])
    assert seen == [[1, 2, 3, 5], [4, 6]]
    assert positions == [3, 1]


def test_a_row_joins_behind_and_the_last_takes_the_place_of_one_that_leaves() -> None:
    slots = Slots(rows=3)
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


def test_slots_grow_and_keep_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv, "BLOCK", 2)
    slots = Slots(rows=2)
    admit(slots, [[1, 2]])
    for number in range(3, 8):
        seen, _ = step(slots, [number])
    assert seen == [[1, 2, 3, 4, 5, 6, 7]]
    assert slots._layers[0].keys.shape == (2, HEADS, 8, WIDTH)
