"""What the training loop needs of a strategy, and what all strategies share.

A strategy holds the gradients, the optimizer and its state, on one worker or several.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

MAX_GRADIENT_NORM = 1.0

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's running means of a gradient and of its square, as PyTorch calls them."""


class Strategy(Protocol):
    """How gradients and weights are updated. All workers call each method together.

    Attributes:
        model: the PEFT model, to evaluate and to save.
    """

    model: Any

    def learn(
        self, batch: Mapping[str, torch.Tensor], weight: float, *, last: bool
    ) -> torch.Tensor:
        """Add a micro-batch's gradients and return its nats, without waiting for the device.

        Args:
            batch: as from `collate`.
            weight: what the nats are multiplied by before the backward pass.
            last: whether `update` follows.
        """

    def update(self, rate: float) -> float | None:
        """Make one optimizer step; return the norm of the gradients before they were clipped.

        None if float16 gradients overflowed: the step is skipped and their scale is lowered.

        Args:
            rate: the learning rate.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state to resume from, in the same form for every strategy.

        Keys: `weight.<parameter>` in float32, `<moment>.<parameter>` for each of MOMENTS, `updates`
        (a count), and for gradient scaling `scale` and `growth` (steps since it changed).
        """

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned; the model already has its weights."""

    def gathered_weights(self) -> AbstractContextManager[None]:
        """Gather all trained weights on every worker, to read and to save."""


def trained(model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that require a gradient, by name."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def adamw(model: Any, *, fused: bool) -> torch.optim.AdamW:
    """Return the optimizer of every strategy: AdamW without weight decay, as in QLoRA's code.

    Args:
        model: the PEFT model.
        fused: update all weights in a few kernels.
    """
    import torch

    return torch.optim.AdamW(trained(model).values(), weight_decay=0.0, fused=fused)
