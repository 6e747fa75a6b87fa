"""Turn question-answer pairs into token batches whose loss is on the answer only."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medsweep.datasets.spec import Pair
from medsweep.models.templates import PAPER_INSTRUCTION, Message, Template

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token without loss (PyTorch's default `ignore_index`)."""

BUCKET_BATCHES = 8
"""Batches that are sorted by length together: little padding, and still a shuffled order."""


@dataclass(frozen=True)
class Example:
    """One tokenised pair.

    Attributes:
        input_ids: prompt, answer and end-of-answer tokens.
        prompt_tokens: how many of them are the prompt.
    """

    input_ids: tuple[int, ...]
    prompt_tokens: int

    @property
    def labels(self) -> list[int]:
        """The tokens of the answer; IGNORED in place of the prompt's."""
        return [IGNORED] * self.prompt_tokens + list(self.input_ids[self.prompt_tokens :])


def conversation(question: str) -> list[Message]:
    """Return the messages that ask one question, with the paper's instruction as system message."""
    return [{"role": "system", "content": PAPER_INSTRUCTION}, {"role": "user", "content": question}]


def encode(pair: Pair, template: Template, tokenizer: Any, max_seq_length: int) -> Example:
    """Tokenise one pair.

    Prompt and answer are tokenised apart, as they are when the model is served: there the prompt
    comes alone and the answer token by token.

    Args:
        pair: question and answer.
        template: writes the prompt, special tokens included.
        tokenizer: of the base model.
        max_seq_length: tokens; what is over is cut from the end.
    """
    prompt = tokenizer(template.render(conversation(pair.question)), add_special_tokens=False)
    answer = tokenizer(template.answer(pair.answer), add_special_tokens=False)
    prompt_ids = prompt["input_ids"][:max_seq_length]
    ids = (*prompt_ids, *answer["input_ids"])[:max_seq_length]
    return Example(ids, len(prompt_ids))


def batches(
    examples: Sequence[Example], batch_size: int, pad_id: int, seed: int | None
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield right-padded batches of similar lengths.

    Args:
        examples: the tokenised pairs.
        batch_size: sequences a batch.
        pad_id: token to pad with; padded places have neither attention nor loss.
        seed: of the order; None keeps the order given.

    Returns:
        Dictionaries of `input_ids`, `attention_mask` and `labels`, each (sequences, tokens).
    """
    order = list(range(len(examples)))
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if seed is not None:
        shuffler = random.Random(seed)  # noqa: S311 an order, not a secret
        shuffler.shuffle(order)
        bucket = batch_size * BUCKET_BATCHES
        groups = []
        for start in range(0, len(order), bucket):
            by_length = sorted(
                order[start : start + bucket], key=lambda index: len(examples[index].input_ids)
            )
            groups += [
                by_length[first : first + batch_size]
                for first in range(0, len(by_length), batch_size)
            ]
        shuffler.shuffle(groups)
    for group in groups:
        yield _collate([examples[index] for index in group], pad_id)


def _collate(members: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    import torch

    longest = max(len(member.input_ids) for member in members)
    ids, masks, labels = [], [], []
    for member in members:
        padding = longest - len(member.input_ids)
        ids.append([*member.input_ids, *[pad_id] * padding])
        masks.append([1] * len(member.input_ids) + [0] * padding)
        labels.append(member.labels + [IGNORED] * padding)
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(masks),
        "labels": torch.tensor(labels),
    }
