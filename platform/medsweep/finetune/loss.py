"""The loss of a batch: negative log-likelihood of the answers' tokens only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from medsweep.finetune.data import IGNORED

if TYPE_CHECKING:
    import torch

LOSS_CHUNK = 1024
"""Labelled tokens whose logits are in float32 at once."""


def answer_nats(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the sum over the labelled tokens of the negative log-likelihood, in nats.

    Logits are computed only where an answer's token follows: with a vocabulary of 256,000 they are
    the largest tensor of a step, and those of the prompt would be discarded.

    Args:
        model: a causal language model of transformers, wrapped or not.
        batch: as from `collate` or `flatten`, on the model's device.
    """
    logits, targets = _answer_logits(model, batch)
    nats: torch.Tensor = _chunked_nats().apply(logits, targets)
    return nats


def row_nats(model: Any, batch: Mapping[str, Any]) -> list[float]:
    """Return the negative log-likelihood of each row's labelled tokens, in nats.

    Args:
        model: as in `answer_nats`; no gradient is computed.
        batch: as from `collate`, on the model's device.
    """
    import torch

    with torch.no_grad():
        logits, targets = _answer_logits(model, batch)
        nats = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    counts = (batch["labels"][:, 1:] != IGNORED).sum(1).tolist()
    return [float(row.sum()) for row in torch.split(nats, counts)]


def _answer_logits(model: Any, batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits where a labelled token follows, and these tokens."""
    import torch

    inputs = {name: each for name, each in batch.items() if name not in ("labels", "kept")}
    labels, kept = batch["labels"], batch.get("kept")
    if kept is None:
        kept = torch.nn.functional.pad(labels[:, 1:] != IGNORED, (0, 1), value=False)
        targets = labels[:, 1:][kept[:, :-1]]
    else:
        targets = labels[0, kept + 1]
    logits = model(**inputs, logits_to_keep=kept, use_cache=False).logits
    return logits.flatten(end_dim=-2), targets


@cache
def _chunked_nats() -> Any:
    """Return the cross-entropy whose only large tensor is the logits, in the dtype they came in.

    PyTorch's keeps three more of them in float32 for a 16-bit model: a copy, its logarithm and
    the gradient. Here each chunk is cast, used and freed, and the gradient overwrites the logits.
    """
    import torch

    class ChunkedNats(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            norms = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
            nats = norms.new_zeros(())
            for part in _chunks(len(targets)):
                chunk = logits[part].float()
                norms[part] = chunk.logsumexp(-1)
                nats += (norms[part] - chunk.gather(1, targets[part, None])[:, 0]).sum()
            context.save_for_backward(logits, targets, norms)
            return nats

        @staticmethod
        def backward(context: Any, scale: torch.Tensor) -> tuple[torch.Tensor, None]:
            logits, targets, norms = context.saved_tensors
            gradient = logits.detach()  # the same memory: nothing reads the logits after this
            for part in _chunks(len(targets)):
                chunk = logits[part].float().sub_(norms[part, None]).exp_()
                chunk.scatter_add_(1, targets[part, None], -torch.ones_like(chunk[:, :1]))
                gradient[part] = chunk.mul_(scale)
            return gradient, None

    return ChunkedNats


def _chunks(count: int) -> list[slice]:
    return [slice(first, first + LOSS_CHUNK) for first in range(0, count, LOSS_CHUNK)]
