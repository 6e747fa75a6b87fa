"""The training loop: makes the optimizer steps of each epoch with a strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import StageError
from medsweep.finetune.batch_order import MicroBatch, Step
from medsweep.finetune.data import collate, place
from medsweep.finetune.schedule import Schedule
from medsweep.finetune.strategy import Strategy
from medsweep.finetune.team import Team
from medsweep.finetune.varlen import adopted, flatten
from medsweep.names import first_names

if TYPE_CHECKING:
    import torch

QUESTIONS_NAMED = 16


@dataclass(frozen=True)
class EpochStats:
    """Statistics of one pass over the training side.

    Attributes:
        epoch: counted from 1.
        loss: mean negative log-likelihood per answer token in training, in nats; None for epoch 0.
        steps: optimizer steps so far.
        tokens: tokens trained on in this epoch, without padding.
        seconds: time of this epoch, without evaluation.
    """

    epoch: int
    loss: float | None
    steps: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Position:
    """Position of a run. Data order, learning rate and random numbers follow from the step.

    Attributes:
        step: optimizer steps done.
        nats, answer_tokens, tokens, seconds: sums over the current epoch.
    """

    step: int = 0
    nats: float = 0.0
    answer_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class Loop:
    """Makes the optimizer steps of a run.

    Attributes:
        strategy: holds the model and the optimizer.
        schedule: gives each step its learning rate.
        team: the workers.
        seed: of dropout.
        pad_id: padding token.
        width: tokens that every row is padded to; None pads to the longest row of a batch.
        position: of the run.
        clock: times the steps.
    """

    strategy: Strategy
    schedule: Schedule
    team: Team
    seed: int
    pad_id: int
    width: int | None = None
    position: Position = Position()
    clock: Clock = field(default_factory=MonotonicClock)

    def epoch(
        self, number: int, steps: Sequence[Step], after_step: Callable[[bool], None]
    ) -> EpochStats:
        """Make the remaining steps of one epoch.

        Args:
            number: of the epoch, counted from 1.
            steps: all steps of the epoch.
            after_step: called after each step with whether it was the epoch's last.

        Raises:
            StageError: a loss or a gradient norm is not finite.
        """
        self.strategy.model.train()
        done = self.position.step - (number - 1) * len(steps)
        for count, step in enumerate(steps[done:], start=done + 1):
            self.step(step)
            after_step(count == len(steps))
        self.strategy.model.eval()
        past = self.position
        self.position = Position(past.step)
        loss = past.nats / past.answer_tokens
        return EpochStats(number, loss, past.step, past.tokens, past.seconds)

    def step(self, step: Step) -> None:
        """Accumulate the gradients of one step's micro-batches and update the weights once."""
        started = self.clock.now()
        self._seed_dropout()
        passes = len(step.micro_batches)
        device_nats = [
            self._learn(micro, step, last=number == passes)
            for number, micro in enumerate(step.micro_batches, start=1)
        ]
        own = [float(nats) for nats in device_nats]  # here the host waits for the device
        [nats] = self.team.total(sum(own))
        if not math.isfinite(nats):
            self._stop("loss", nats, step, own)
        norm = self.strategy.update(self.rate)
        if norm is not None and not math.isfinite(norm):
            self._stop("gradient norm", norm, step, [norm] * len(own))
        past = self.position
        self.position = Position(
            past.step + 1,
            past.nats + nats,
            past.answer_tokens + step.answer_tokens,
            past.tokens + step.tokens,
            past.seconds + self.clock.now() - started,
        )

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.schedule.rate(self.position.step)

    def _learn(self, micro: MicroBatch, step: Step, *, last: bool) -> torch.Tensor:
        if self.width is None and adopted(self.strategy.model):
            batch = flatten(micro.rows, learn=micro.learn)
        else:
            batch = collate(micro.rows, self.pad_id, width=self.width, learn=micro.learn)
        # Gradients are averaged over the workers; the loss is divided by the tokens of all of them.
        weight = self.team.size / step.answer_tokens
        return self.strategy.learn(place(batch, self.team.device), weight, last=last)

    def _seed_dropout(self) -> None:
        """Seed each step and worker separately, so that a resumed run draws the same numbers."""
        import torch

        torch.manual_seed((self.seed * 1_000_003 + self.position.step) * 1_009 + self.team.rank)

    def _stop(self, what: str, value: float, step: Step, own: Sequence[float]) -> None:
        """Report where the loss or the gradients were not finite, and in which questions.

        Raises:
            StageError: always.
        """
        bad = [
            example.question_id
            for micro, number in zip(step.micro_batches, own, strict=True)
            if micro.learn and not math.isfinite(number)
            for row in micro.rows
            for example in row
        ]
        every = [name for names in self.team.each(bad) for name in names]
        named = first_names(every, QUESTIONS_NAMED)
        raise StageError(
            f"fine-tuning: the {what} became {value} at step {self.position.step + 1} of "
            f"{self.schedule.steps}, at learning rate {self.rate:.2g}, on the questions {named}; "
            "lower finetune.learning_rate or set finetune.dtype: float32"
        )
