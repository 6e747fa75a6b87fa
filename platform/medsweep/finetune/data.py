"""Question-answer pairs as token batches, with loss on the answer only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medsweep.datasets.spec import Pair
from medsweep.datasets.split import Split
from medsweep.errors import StageError
from medsweep.models.templates import Template, conversation

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token without loss (PyTorch's default `ignore_index`)."""

Row = tuple["Example", ...]
"""Examples in one row of a batch; several if they are packed."""


@dataclass(frozen=True)
class Example:
    """One tokenised pair.

    Attributes:
        input_ids: prompt, answer and end-of-answer tokens.
        prompt_tokens: number of prompt tokens.
        question_id: names the pair in error messages.
        cut: whether the end of the answer was cut off.
    """

    input_ids: tuple[int, ...]
    prompt_tokens: int
    question_id: str = ""
    cut: bool = False

    @property
    def labels(self) -> list[int]:
        """The tokens of the answer, with IGNORED for the prompt and for the first token.

        No token precedes the first one, so it cannot be predicted; in a packed row it must not be
        predicted from the sequence before it.
        """
        unlabelled = max(1, self.prompt_tokens)
        return [IGNORED] * unlabelled + list(self.input_ids[unlabelled:])

    @property
    def answer_tokens(self) -> int:
        """Number of tokens with a label."""
        return max(0, len(self.input_ids) - max(1, self.prompt_tokens))


def encode(pair: Pair, template: Template, tokenizer: Any, max_seq_length: int) -> Example:
    """Tokenise one pair.

    Prompt and answer are tokenised separately, as in serving, where the prompt comes alone and the
    answer token by token.

    Args:
        pair: question and answer.
        template: writes the prompt, special tokens included.
        tokenizer: of the base model.
        max_seq_length: tokens; the rest is cut off at the end.
    """
    prompt = tokenizer(template.render(conversation(pair.question)), add_special_tokens=False)
    answer = tokenizer(template.answer(pair.answer), add_special_tokens=False)
    prompt_ids = prompt["input_ids"][:max_seq_length]
    ids = (*prompt["input_ids"], *answer["input_ids"])
    cut = len(ids) > max_seq_length
    return Example(ids[:max_seq_length], len(prompt_ids), pair.question_id, cut)


@dataclass(frozen=True)
class TokenisedSplit:
    """The tokenised sides of a dataset.

    Attributes:
        train: the training side, without pairs whose prompt leaves no room for an answer.
        evaluation: the evaluation side.
        without_room: number of pairs that were left out.
    """

    train: tuple[Example, ...]
    evaluation: tuple[Example, ...]
    without_room: int


def tokenise(
    split: Split, template: Template, tokenizer: Any, max_seq_length: int
) -> TokenisedSplit:
    """Return the pairs of a dataset as tokens.

    Raises:
        StageError: no pair has room for part of its answer, or none for the end of it.
    """
    encoded = [encode(pair, template, tokenizer, max_seq_length) for pair in split.train]
    train = tuple(example for example in encoded if example.answer_tokens)
    if not train:
        raise StageError(
            f"finetune.max_seq_length: {max_seq_length} tokens hold no prompt with any of its "
            "answer; raise it"
        )
    if all(example.cut for example in train):
        raise StageError(
            f"finetune.max_seq_length: {max_seq_length} tokens cut off the end of each of "
            f"{len(train)} answers, so the model would not learn to end one; raise it"
        )
    evaluation = tuple(
        encode(pair, template, tokenizer, max_seq_length) for pair in split.evaluation
    )
    return TokenisedSplit(train, evaluation, len(encoded) - len(train))


def place(batch: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return a batch on a device; to a GPU it is copied while the host continues.

    Args:
        batch: tensors by name, and numbers, which stay as they are.
        device: as PyTorch names it.
    """
    import torch

    if not device.startswith("cuda"):
        return dict(batch)
    return {
        name: each.pin_memory().to(device, non_blocking=True) if torch.is_tensor(each) else each
        for name, each in batch.items()
    }


def collate(
    rows: Sequence[Row], pad_id: int, *, width: int | None = None, learn: bool = True
) -> dict[str, torch.Tensor]:
    """Return one right-padded batch.

    Padding follows a row's tokens, and attention is causal, so no mask keeps it apart. In a row of
    several examples each has its own positions; by these transformers tells them apart and makes
    the mask on the device.

    Args:
        rows: the examples of each row.
        pad_id: padding token; it has no loss.
        width: tokens per row; None pads to the longest row.
        learn: False leaves every token without a label.

    Returns:
        `input_ids` and `labels` (rows, tokens); packed, `position_ids` of the same shape too.
    """
    import torch

    lengths = [sum(len(example.input_ids) for example in row) for row in rows]
    shape = (len(rows), width or max(lengths))
    batch = {
        "input_ids": torch.full(shape, pad_id),
        "labels": torch.full(shape, IGNORED),
    }
    for number, row in enumerate(rows):
        ids = [token for example in row for token in example.input_ids]
        batch["input_ids"][number, : len(ids)] = torch.tensor(ids)
        if learn:
            labels = [label for example in row for label in example.labels]
            batch["labels"][number, : len(ids)] = torch.tensor(labels)
    if all(len(row) == 1 for row in rows):
        return batch
    # Padding begins again at 0, as a sequence of its own.
    positions = torch.zeros(shape, dtype=torch.long)
    for number, row in enumerate(rows):
        sizes = [len(example.input_ids) for example in row]
        start = 0
        for size in (*sizes, shape[1] - sum(sizes)):
            positions[number, start : start + size] = torch.arange(size)
            start += size
    return {**batch, "position_ids": positions}
