"""What a dataset is: question-answer pairs, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from medsweep.config import Closed


@dataclass(frozen=True)
class Pair:
    """One question with its reference answer.

    Attributes:
        question_id: stable within the dataset; a hash of question and answer.
        question: the question as it is asked of the model.
        answer: the reference answer.
        question_type: MedQuAD's type ("symptoms", "treatment"), or None.
    """

    question_id: str
    question: str
    answer: str
    question_type: str | None = None


class DatasetSpec(Closed):
    """The dataset of a sweep.

    Attributes:
        name: `embedded` (the corpus that ships), `medquad` (from `path`, or from the hub), or
            `local` (any JSONL, CSV or Parquet file with a question and an answer column).
        path: local file; JSONL may be gzipped.
        question_column: column of the question in a local file.
        answer_column: column of the answer in a local file.
        public: whether prompts and answers may be stored; the sweep's `keep_text` overrides.
        sample: number of pairs drawn by seed; None takes all.
        eval_fraction: share of pairs held out, split by normalised question.
        max_answer_words: pairs with longer answers are dropped (and counted); None keeps all.
        max_unusable_fraction: above this share of unreadable or empty rows the run stops.
    """

    name: Literal["embedded", "medquad", "local"] = "embedded"
    path: str | None = None
    question_column: str = "question"
    answer_column: str = "answer"
    public: bool = False
    sample: int | None = Field(default=None, ge=10)
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    max_answer_words: int | None = Field(default=None, ge=1)
    max_unusable_fraction: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _path_fits_name(self) -> DatasetSpec:
        if self.name == "local" and self.path is None:
            raise ValueError(
                "dataset `local` needs `path`: a .jsonl, .jsonl.gz, .csv or .parquet file"
            )
        if self.name == "embedded" and self.path is not None:
            raise ValueError("dataset `embedded` takes no `path`; name it `local` or `medquad`")
        return self

    @property
    def is_public(self) -> bool:
        """Whether the text of prompts and answers is known not to be patient data."""
        return self.public or self.name in ("embedded", "medquad")
