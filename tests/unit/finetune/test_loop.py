from typing import Any

import pytest
import torch

from medsweep.clock import FakeClock
from medsweep.errors import StageError
from medsweep.finetune.batch_order import MicroBatch, Step
from medsweep.finetune.data import Example
from medsweep.finetune.loop import Loop, Position
from medsweep.finetune.schedule import Schedule
from medsweep.finetune.team import ALONE


class FakeStrategy:
    """Its nats are what a batch's first token says, in tenths, times the labelled tokens."""

    def __init__(self, clock: FakeClock, norms: list[float | None] | None = None) -> None:
        self.model = torch.nn.Linear(1, 1)
        self.clock = clock
        self.norms = norms or []
        self.passes: list[tuple[float, bool]] = []
        self.rates: list[float] = []
        self.draws: list[float] = []
        self.modes: list[bool] = []

    def learn(self, batch: Any, weight: float, *, last: bool) -> torch.Tensor:
        self.modes.append(self.model.training)
        self.draws.append(float(torch.rand(1)))
        self.clock.advance(2.0)
        labelled = int((batch["labels"] >= 0).sum())
        self.passes.append((weight * labelled, last))
        first = int(batch["input_ids"][0, 0])
        nats = {900: float("nan"), 901: float("inf")}.get(first, first / 10) * labelled
        return torch.tensor(nats, dtype=torch.float64)

    def update(self, rate: float) -> float | None:
        self.rates.append(rate)
        return self.norms.pop(0) if self.norms else 1.0


def step(*micros: tuple[int, int]) -> Step:
    """One step of micro-batches with one example each: (its first token, its labelled tokens)."""
    rows = [((Example((first, *[1] * (3 + answer)), 4, f"q{first}"),),) for first, answer in micros]
    answers = sum(answer for _, answer in micros)
    return Step(tuple(map(MicroBatch, rows)), answers, answers + 4 * len(micros))


def loop(strategy: Any, steps: int = 10, **settings: Any) -> Loop:
    defaults: dict[str, Any] = {"team": ALONE, "seed": 3, "pad_id": 0, "clock": strategy.clock}
    return Loop(strategy, Schedule(1e-3, steps, "constant", 0.0), **(defaults | settings))


def ignore(_: bool) -> None:
    pass


@pytest.fixture
def strategy() -> FakeStrategy:
    return FakeStrategy(FakeClock(100.0))


def test_an_epoch_s_loss_is_per_answer_token(strategy: FakeStrategy) -> None:
    # 0.2 nats over 1 token and 0.6 nats over 3: not the mean of the batches, 0.4.
    stats = loop(strategy).epoch(1, [step((2, 1)), step((6, 3))], ignore)
    assert stats.loss == pytest.approx((0.2 * 1 + 0.6 * 3) / 4)
    assert (stats.epoch, stats.steps, stats.tokens) == (1, 2, 12)
    assert stats.seconds == 4.0


def test_micro_batches_weigh_by_their_answer_tokens(strategy: FakeStrategy) -> None:
    loop(strategy).epoch(1, [step((2, 1), (6, 3))], ignore)
    assert strategy.passes == [(0.25, False), (0.75, True)]
    assert len(strategy.rates) == 1


def test_steps_go_on_and_sums_start_again_each_epoch(strategy: FakeStrategy) -> None:
    running = loop(strategy)
    seen = [running.epoch(n, [step((first, 1))] * 3, ignore) for n, first in ((1, 2), (2, 4))]
    assert [(s.epoch, s.steps, s.tokens, s.seconds) for s in seen] == [(1, 3, 15, 6), (2, 6, 15, 6)]
    assert [s.loss for s in seen] == pytest.approx([0.2, 0.4])


def test_training_mode_in_training_and_evaluation_mode_after(strategy: FakeStrategy) -> None:
    strategy.model.eval()
    loop(strategy).epoch(1, [step((2, 1))] * 2, ignore)
    assert strategy.modes == [True, True]
    assert not strategy.model.training


def test_a_resumed_epoch_ends_as_the_whole_one(strategy: FakeStrategy) -> None:
    steps = [[step((first, 1)) for first in epoch] for epoch in ((1, 2, 3), (4, 5, 6))]
    whole = loop(strategy)
    positions: list[Position] = []

    def note(_: bool) -> None:
        positions.append(whole.position)

    ends = [whole.epoch(number, steps[number - 1], note) for number in (1, 2)]
    for cut in (3, 4, 5):
        again = FakeStrategy(FakeClock(0.0))
        resumed = loop(again, position=positions[cut])
        assert resumed.epoch(2, steps[1], ignore) == ends[1]
        assert len(again.passes) == 5 - cut
        # The learning rates and the random numbers of dropout are those of the whole run.
        assert again.rates == strategy.rates[cut + 1 :]
        assert again.draws == strategy.draws[cut + 1 :]
    assert len(set(strategy.draws)) == 6


def test_after_step_is_told_of_the_last(strategy: FakeStrategy) -> None:
    last: list[bool] = []
    loop(strategy).epoch(1, [step((2, 1))] * 3, last.append)
    assert last == [False, False, True]


@pytest.mark.parametrize(("token", "said"), [(900, "nan"), (901, "inf")])
def test_a_loss_that_is_no_number_stops_with_step_rate_and_questions(
    strategy: FakeStrategy, token: int, said: str
) -> None:
    running = loop(strategy)
    with pytest.raises(StageError) as stopped:
        running.epoch(1, [step((1, 1)), step((2, 1), (token, 2), (3, 1)), step((4, 1))], ignore)
    text = str(stopped.value)
    assert f"the loss became {said} at step 2 of 10, at learning rate 0.001," in text
    assert f"on the questions q{token};" in text
    assert "finetune.dtype: float32" in text
    assert running.position == Position(1, 0.1, 1, 5, 2.0)
    assert len(strategy.rates) == 1


def test_gradients_that_are_no_numbers_stop_too(strategy: FakeStrategy) -> None:
    strategy.norms = [1.0, float("nan")]
    with pytest.raises(StageError, match=r"norm became nan at step 2 .* questions q5, q6;"):
        loop(strategy).epoch(1, [step((4, 1)), step((5, 1), (6, 1))], ignore)


def test_a_step_without_an_update_is_none_of_the_two(strategy: FakeStrategy) -> None:
    strategy.norms = [None, 1.0]
    assert loop(strategy).epoch(1, [step((4, 1))] * 2, ignore).steps == 2


def test_many_questions_are_counted(strategy: FakeStrategy) -> None:
    with pytest.raises(StageError, match=r"q900 and 4 more;"):
        loop(strategy).epoch(1, [step(*[(900, 1)] * 20)], ignore)
