"""Multiple choice by log-likelihood: which option a model finds most likely."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.finetune.adapted import (
    device_with_room,
    find_base,
    load_adapted,
    open_adapter,
)
from medsweep.finetune.data import collate, encode, place
from medsweep.finetune.evaluate import LOSS_TOKENS
from medsweep.finetune.loss import row_nats
from medsweep.metrics.confidence import probability_of
from medsweep.models.templates import TEMPLATES, Template
from medsweep.models.token_batches import token_batches


class Chooser:
    """Chooses among options with an adapter, or with its base model alone, on a GPU with room.

    Args:
        folder: of the adapter.
        base_only: leave the adapter out, but use its template.

    Raises:
        StageError: it is not an adapter, or its base model cannot be found.
    """

    def __init__(self, folder: Path, *, base_only: bool = False) -> None:
        adapter = open_adapter(folder)
        base = find_base(adapter, None)
        self._model, self._tokenizer = load_adapted(
            adapter, base, base_only=base_only, device=device_with_room(base)
        )
        self._template = TEMPLATES[adapter.template]

    def choose(self, question: str, options: Sequence[str]) -> tuple[int, float]:
        """Return the index of the option that the model finds most likely, and its probability.

        The probability is that of the option as the whole answer, over that of all options.

        Args:
            question: the question.
            options: the options.
        """
        nats = option_nats(self._model, self._tokenizer, self._template, question, options)
        # Per byte, or the shortest option would mostly win (lm-evaluation-harness's `acc_norm`).
        per_byte = [
            cost / max(1, len(option.encode())) for cost, option in zip(nats, options, strict=True)
        ]
        place = per_byte.index(min(per_byte))
        return place, probability_of([-cost for cost in nats], place)


def option_nats(
    model: Any, tokenizer: Any, template: Template, question: str, options: Sequence[str]
) -> list[float]:
    """Return the negative log-likelihood of each option as the whole answer, in nats.

    Args:
        model: a causal language model of transformers.
        tokenizer: of the base model.
        template: writes the prompt.
        question: the question.
        options: the answers to judge.
    """
    # Of a cut-off option not all would be judged, so none is cut off.
    examples = [encode(Pair("", question, one), template, tokenizer, 1 << 30) for one in options]
    costs: list[float] = []
    for group in token_batches(examples, lambda example: len(example.input_ids), LOSS_TOKENS):
        batch = collate([(example,) for example in group], pad_id=0)
        costs += row_nats(model, place(batch, str(model.device)))
    return costs
