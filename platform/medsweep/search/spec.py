"""The `search` section of a sweep: the grid, and when a trial is given up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from medsweep.config import Closed

Metric = Literal["token_f1", "rouge_l", "corpus_bleu", "ngram_match", "eval_loss"]

LEAST = {"max_seq_length": 16, "rank": 1, "alpha": 1}
"""As in `finetune`."""


class SearchSpec(Closed):
    """A grid of recipes; everything else is as in `finetune`. None keeps that one's value.

    Attributes:
        max_seq_length: tokens.
        rank: LoRA rank.
        alpha: LoRA scaling.
        dropout: LoRA dropout.
        metric: what is searched for, on the evaluation questions; `eval_loss` compares only trials
            of one max_seq_length, since it is over the tokens that are kept.
        grace_epochs: epochs that every trial gets before it may be given up.
        reduction: of so many trials that came as far, one goes on (ASHA).
        at_once: trials at one time; None takes one for each GPU, or else for each CPU.
    """

    max_seq_length: list[int] | None = Field(default=None, min_length=1)
    rank: list[int] | None = Field(default=None, min_length=1)
    alpha: list[int] | None = Field(default=None, min_length=1)
    dropout: list[float] | None = Field(default=None, min_length=1)
    metric: Metric = "token_f1"
    grace_epochs: int = Field(default=1, ge=1)
    reduction: int = Field(default=3, ge=2)
    at_once: int | None = Field(default=None, ge=1)

    @field_validator("max_seq_length", "rank", "alpha", "dropout")
    @classmethod
    def _usable(cls, values: list[float] | None, field: ValidationInfo) -> list[float] | None:
        least = LEAST.get(str(field.field_name), 0)
        for value in values or ():
            if value < least or (field.field_name == "dropout" and value >= 1):
                raise ValueError(
                    f"{value} is not allowed: "
                    + (f"at least {least}" if least else "from 0 to less than 1")
                )
        if values is not None and len(set(values)) != len(values):
            raise ValueError(f"a value stands twice: {values}")
        return values
