"""The learning rate of each step, and when to stop early: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.finetune.recipe import ScheduleShape


@dataclass(frozen=True)
class Schedule:
    """Warm-up to the peak, then linear or cosine decay to zero, or a constant rate.

    Attributes:
        peak: highest learning rate.
        steps: optimizer steps of the whole run.
        shape: of the rate after the warm-up.
        warmup_share: share of the steps over which the rate rises. 0.03 is QLoRA's (Dettmers et
            al., 2023, app. B).
    """

    peak: float
    steps: int
    shape: ScheduleShape = "linear"
    warmup_share: float = 0.03

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0; never 0 within the run."""
        warmup = max(1, round(self.steps * self.warmup_share))
        if step < warmup:
            return self.peak * (step + 1) / warmup
        left = (self.steps - step) / max(1, self.steps - warmup)
        if self.shape == "linear":
            return self.peak * left
        if self.shape == "cosine":
            return self.peak * (1 - math.cos(math.pi * left)) / 2
        return self.peak


def on_plateau(losses: Sequence[float], patience: int | None, min_delta: float) -> bool:
    """Return whether the evaluation loss has stopped falling.

    Args:
        losses: of the epochs so far, the base model's first.
        patience: epochs in a row without a new lowest loss; None never stops early.
        min_delta: nats by which a loss must be lower to count as a new lowest.
    """
    if patience is None:
        return False
    best, since = math.inf, 0
    for loss in losses:
        if loss < best - min_delta:
            best, since = loss, 0
        else:
            since += 1
    return since >= patience
