"""The training loop: a plain function over a model and batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medsweep.clock import Clock, MonotonicClock
from medsweep.errors import StageError

if TYPE_CHECKING:
    import torch

WARMUP_SHARE = 0.03
"""Share of the steps over which the learning rate rises (Dettmers et al., 2023, QLoRA, app. B)."""

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class EpochStats:
    """What one pass over the training side came to.

    Attributes:
        epoch: counted from 1.
        loss: mean nats (negative log-likelihood) of an answer token in training; None before it.
        steps: optimizer steps so far.
        tokens: tokens that went through the model in this epoch, padding not counted.
        seconds: time of this epoch, evaluation not counted.
    """

    epoch: int
    loss: float | None
    steps: int
    tokens: int
    seconds: float


def train(
    model: Any,
    epoch_batches: Callable[[int], Iterable[dict[str, torch.Tensor]]],
    *,
    epochs: int,
    steps: int,
    learning_rate: float,
    on_epoch: Callable[[EpochStats], None],
    clock: Clock | None = None,
) -> None:
    """Train the parameters that require a gradient, in place.

    Args:
        model: takes `input_ids`, `attention_mask`, `labels`; gives `.loss`, the mean over the
            labelled tokens.
        epoch_batches: gives the batches of an epoch, counted from 1.
        epochs: passes.
        steps: optimizer steps of the whole run, for the schedule.
        learning_rate: peak of AdamW's rate; warm-up, then linear decay to zero.
        on_epoch: called after each epoch; may evaluate (its time does not count).
        clock: times the epochs.

    Raises:
        StageError: the loss is not a number; the message names the step.
    """
    import torch

    clock = clock or MonotonicClock()
    device = next(model.parameters()).device
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=0.0)
    warmup = max(1, round(steps * WARMUP_SHARE))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup))),
    )
    step = 0
    for epoch in range(1, epochs + 1):
        model.train()
        started, nats, answer_tokens, tokens = clock.now(), 0.0, 0, 0
        for batch in epoch_batches(epoch):
            loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
            value = float(loss.detach())
            step += 1
            if not math.isfinite(value):
                raise StageError(
                    f"fine-tuning: the loss became {value} at step {step} of {steps} "
                    f"(epoch {epoch}); lower finetune.learning_rate or use serve.dtype float32"
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, MAX_GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            # The first label of a sequence has nothing before it to be predicted from.
            labelled = int((batch["labels"][:, 1:] >= 0).sum())
            nats += value * labelled
            answer_tokens += labelled
            tokens += int(batch["attention_mask"].sum())
        seconds = clock.now() - started
        model.eval()
        on_epoch(EpochStats(epoch, nats / max(1, answer_tokens), step, tokens, seconds))
