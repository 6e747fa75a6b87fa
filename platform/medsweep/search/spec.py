"""The `search` section of a sweep: the grid, and when a trial is stopped."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from medsweep.config import Closed
from medsweep.finetune.recipe import Alpha, Dropout, Rank, SequenceLength

Metric = Literal["token_f1", "rouge_l", "corpus_bleu", "ngram_match", "eval_loss"]


class SearchSpec(Closed):
    """A grid of recipes; other fields are as in `finetune`. None keeps the value there.

    Attributes:
        max_seq_length: tokens of a sequence.
        rank: LoRA rank.
        alpha: LoRA scaling.
        dropout: LoRA dropout.
        metric: the figure to optimise, on the evaluation questions; `eval_loss` compares only
            trials with the same max_seq_length, because it covers only the tokens that are kept.
        grace_epochs: epochs that every trial runs before it may be stopped.
        reduction: of this many trials that reach an epoch, ASHA continues one.
        at_once: concurrent trials; None runs one per GPU, or one per CPU without a GPU.
    """

    max_seq_length: list[SequenceLength] | None = Field(default=None, min_length=1)
    rank: list[Rank] | None = Field(default=None, min_length=1)
    alpha: list[Alpha] | None = Field(default=None, min_length=1)
    dropout: list[Dropout] | None = Field(default=None, min_length=1)
    metric: Metric = "token_f1"
    grace_epochs: int = Field(default=1, ge=1)
    reduction: int = Field(default=3, ge=2)
    at_once: int | None = Field(default=None, ge=1)

    @field_validator("max_seq_length", "rank", "alpha", "dropout")
    @classmethod
    def _distinct(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and len(set(values)) != len(values):
            raise ValueError(f"a value is given twice: {values}")
        return values
