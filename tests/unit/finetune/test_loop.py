from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsweep.clock import FakeClock
from medsweep.errors import StageError
from medsweep.finetune.data import IGNORED
from medsweep.finetune.loop import EpochStats, train

Batch = dict[str, torch.Tensor]


class HandModel(torch.nn.Module):
    """Its loss is what the batch's first token says, in tenths, plus nothing times its weight."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))
        self.clock = clock
        self.modes: list[bool] = []

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
        self.modes.append(self.training)
        if self.clock is not None:
            self.clock.advance(2.0)
        tenths = input_ids[0, 0] / 10
        return SimpleNamespace(loss=tenths + 0.0 * self.weight)


class Parabola(torch.nn.Module):
    """Least where its weight is 3."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, **_: Any) -> Any:
        return SimpleNamespace(loss=(self.weight - 3.0) ** 2)


def batch(tenths: float, labelled: int, tokens: int = 6) -> Batch:
    """One sequence of `tokens` tokens, the last `labelled` of which have a label, and padding."""
    ids = torch.full((1, tokens + 2), tenths)
    mask = torch.tensor([[1] * tokens + [0, 0]])
    labels = [IGNORED] * (tokens - labelled) + [1] * labelled + [IGNORED] * 2
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([labels])}


def run(model: Any, epochs: list[list[Batch]], **settings: Any) -> list[EpochStats]:
    seen: list[EpochStats] = []
    defaults: dict[str, Any] = {
        "epochs": len(epochs),
        "steps": sum(len(epoch) for epoch in epochs),
        "learning_rate": 0.1,
        "on_epoch": seen.append,
    }
    train(model, lambda epoch: iter(epochs[epoch - 1]), **(defaults | settings))
    return seen


def test_the_loss_of_an_epoch_is_per_answer_token() -> None:
    # 0.2 nats over 1 token and 0.6 nats over 3: not the mean of the batches, 0.4.
    [stats] = run(HandModel(), [[batch(2.0, 1), batch(6.0, 3)]])
    assert stats.loss == pytest.approx((0.2 * 1 + 0.6 * 3) / 4)
    assert (stats.epoch, stats.steps, stats.tokens) == (1, 2, 12)


def test_a_label_on_the_first_token_is_not_predicted() -> None:
    # All 6 tokens have labels, but only 5 of them follow another.
    [stats] = run(HandModel(), [[batch(2.0, 6), batch(6.0, 1)]])
    assert stats.loss == pytest.approx((0.2 * 5 + 0.6 * 1) / 6)


def test_steps_go_on_and_tokens_start_again_each_epoch() -> None:
    stats = run(HandModel(), [[batch(2.0, 1)] * 3, [batch(4.0, 1)] * 3])
    assert [(s.epoch, s.steps, s.tokens) for s in stats] == [(1, 3, 18), (2, 6, 18)]
    assert [s.loss for s in stats] == pytest.approx([0.2, 0.4])


def test_seconds_are_those_of_training_alone() -> None:
    clock = FakeClock(100.0)
    seconds: list[float] = []

    def evaluate(stats: EpochStats) -> None:
        seconds.append(stats.seconds)
        clock.advance(50.0)

    model = HandModel(clock)
    run(model, [[batch(1.0, 1)] * 3, [batch(1.0, 1)] * 2], on_epoch=evaluate, clock=clock)
    assert seconds == [6.0, 4.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_its_step(value: float) -> None:
    good = batch(1.0, 1)
    model, seen = HandModel(), []
    with pytest.raises(StageError) as stopped:
        run(model, [[good] * 3, [good, batch(value, 1), good]], on_epoch=seen.append)
    assert f"the loss became {value} at step 5 of 6 (epoch 2)" in str(stopped.value)
    assert "lower finetune.learning_rate or use serve.dtype float32" in str(stopped.value)
    assert [stats.epoch for stats in seen] == [1]
    assert len(model.modes) == 5


def test_only_what_requires_a_gradient_is_trained() -> None:
    model = Parabola()
    model.other = torch.nn.Parameter(torch.tensor(5.0), requires_grad=False)
    run(model, [[batch(0.0, 1)] * 100], learning_rate=0.2)
    assert model.weight.item() == pytest.approx(3.0, abs=0.2)
    assert model.other.item() == 5.0


def test_training_mode_in_training_and_evaluation_mode_after() -> None:
    model = HandModel()
    modes: list[bool] = []
    run(model, [[batch(1.0, 1)]] * 2, on_epoch=lambda _: modes.append(model.training))
    assert model.modes == [True, True]
    assert modes == [False, False]


def test_the_rate_rises_then_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def spy(optimizer: torch.optim.AdamW, *args: Any) -> Any:
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    run(HandModel(), [[batch(1.0, 1)] * 100], learning_rate=1.0)
    # 3 of 100 steps of warm-up, then a straight line that would meet zero at step 100.
    assert rates[:4] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert rates[-1] == pytest.approx(1 / 97)
    assert rates[50] == pytest.approx(50 / 97)


def test_batches_are_made_as_they_are_needed() -> None:
    made: list[int] = []
    model = HandModel()

    def lazy(epoch: int) -> Iterator[Batch]:
        for number in range(2):
            made.append(10 * epoch + number)
            assert len(model.modes) == len(made) - 1
            yield batch(1.0, 1)

    train(model, lazy, epochs=2, steps=4, learning_rate=0.1, on_epoch=lambda _: None)
    assert made == [10, 11, 20, 21]
