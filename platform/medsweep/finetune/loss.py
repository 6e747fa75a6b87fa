"""The loss of a batch: negative log-likelihood of the answers' tokens only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medsweep.finetune.data import IGNORED

if TYPE_CHECKING:
    import torch


def answer_nats(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum over the labelled tokens of the negative log-likelihood, in nats.

    Logits are computed only where an answer's token follows: with a vocabulary of 256,000 they are
    the largest tensor of a step, and those of the prompt would be discarded.

    Args:
        model: a causal language model of transformers, wrapped or not.
        batch: as from `collate`, on the model's device.
    """
    from torch.nn import functional

    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    following = batch["labels"][:, 1:]
    labelled = following != IGNORED
    logits = model(
        **inputs, logits_to_keep=functional.pad(labelled, (0, 1), value=False), use_cache=False
    ).logits
    return functional.cross_entropy(logits.float(), following[labelled], reduction="sum")
