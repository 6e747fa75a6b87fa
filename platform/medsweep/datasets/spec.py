"""Specs of a dataset: question-answer pairs, where they come from, and how they are cleaned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from medsweep.config import Closed
from medsweep.datasets.catalog import DATASETS, DatasetEntry
from medsweep.datasets.files import KINDS
from medsweep.datasets.formats import Format
from medsweep.errors import UnknownName

RuleName = Literal["question-marks", "frequency-tables", "empty", "over-long", "duplicate"]


@dataclass(frozen=True)
class Pair:
    """One question with its reference answer.

    Attributes:
        question_id: stable within the dataset; a hash of question and answer.
        question: the question that the model is asked.
        answer: the reference answer.
        question_type: MedQuAD's type ("symptoms", "treatment"), or None.
        group: value of the column `split_by`; None without one.
        focus: the disease or drug that it is about, or None.
        labels: what the question is grouped by where quality is broken down, by column.
    """

    question_id: str
    question: str
    answer: str
    question_type: str | None = None
    group: str | None = None
    focus: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


class ColumnsSpec(Closed):
    """Names of a source's columns; None takes the name in the catalogue.

    Attributes:
        question: column of the question.
        answer: column of the answer.
        question_type: column of the question's type; rows may lack it.
    """

    question: str | None = None
    answer: str | None = None
    question_type: str | None = None


class SourceSpec(Closed):
    """One source of pairs.

    Attributes:
        name: a dataset that `medsweep datasets` lists, but none of multiple choice; `embedded`
            needs no download, `local` is a file of your own.
        path: a file to read instead of the hub: .jsonl, .json, .csv (also with .gz) or .parquet;
            or a folder of files of one of these kinds.
        format: format of your own file: `columns`, chat `messages`, `sharegpt` (`conversations`) or
            `alpaca` (`instruction`, `input`, `output`); None takes the one that fits.
        revision: commit, tag or branch on the hub; None takes the catalogue's. The commit that
            was read is recorded.
        columns: names of its columns, where they differ from the catalogue.
    """

    name: str = "embedded"
    path: str | None = None
    format: Format | None = None
    revision: str | None = None
    columns: ColumnsSpec = ColumnsSpec()

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DATASETS:
            raise ValueError(str(UnknownName("dataset", name, DATASETS)))
        if DATASETS[name].choices:
            raise ValueError(
                f"dataset `{name}` is multiple choice, and sweeps ask for text: "
                f"`medsweep score {name} --adapter DIR` has an adapter choose"
            )
        return name

    @model_validator(mode="after")
    def _path_fits_name(self) -> SourceSpec:
        if self.name == "local" and self.path is None:
            raise ValueError(
                f"dataset `local` needs `path`: a {KINDS} file, or a folder of such files"
            )
        if self.name == "embedded" and self.path is not None:
            raise ValueError("dataset `embedded` takes no `path`; name it `local` or `medquad`")
        if self.format is not None and self.name != "local":
            raise ValueError("`format` is for your own file: `name: local`")
        if self.format not in (None, "columns") and self.columns != ColumnsSpec():
            raise ValueError(f"`columns` is for the format `columns`, not for {self.format}")
        if self.revision is not None and (self.path or self.entry.hub_id is None):
            raise ValueError("`revision` is for a dataset that is read from the hub")
        return self

    @property
    def entry(self) -> DatasetEntry:
        """Its entry in the catalogue."""
        return DATASETS[self.name]

    @property
    def fixed_format(self) -> Format | None:
        """The format of its rows; None where the rows decide."""
        if self.name != "local" or self.columns != ColumnsSpec():
            return self.format or "columns"
        return self.format

    @property
    def where(self) -> str:
        """Where its rows come from: the file, the repository on the hub, or `embedded`."""
        return self.path or self.entry.hub_id or self.name

    @property
    def column_names(self) -> tuple[str, str, str | None]:
        """Columns of question, answer and type."""
        given, own = self.columns, self.entry
        return (
            given.question or own.question,
            given.answer or own.answer,
            given.question_type or own.question_type,
        )


class MixSpec(SourceSpec):
    """One source of a mixture.

    Attributes:
        weight: its share of the sample, relative to the weights of the other sources.
    """

    weight: float = Field(default=1.0, gt=0)


class DatasetSpec(SourceSpec):
    """The dataset of a sweep.

    Attributes:
        mix: several sources instead of the one above, mixed by weight.
        public: whether prompts and answers may be stored; the sweep's `keep_text` overrides.
        sample: number of pairs, drawn by seed; None takes all.
        eval_fraction: share of pairs held out for evaluation, split by normalised question.
        split_by: column whose values stay together on one side, such as the disease, the document
            or the publisher (MedQuAD's `focus`, `document_id`, `source`); None splits by question.
        breakdown: columns by whose values quality is broken down, beside the question's type, its
            source and the length of the reference. They are stored with the results and shown in
            the report, values of fewer than 6 questions pooled.
        lexicon: file with the terms of medical concepts, which answers are compared by: CSV with
            the columns concept and term, or UMLS' MRCONSO.RRF; None takes ICD-10-CM's names.
        leaks: `exclude` removes training pairs that contain more than half of an evaluation
            answer's 8-grams, or its question; `keep` only counts them.
        rules: the cleaning rules to apply; how many rows each one affects is in the provenance.
        max_answer_words: longest answer that the rule `over-long` keeps; None keeps all.
        max_unusable_fraction: a larger share of unreadable or empty rows is an error.
    """

    mix: list[MixSpec] | None = Field(default=None, min_length=2)
    public: bool = False
    sample: int | None = Field(default=None, ge=10)
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    split_by: str | None = None
    breakdown: list[str] = Field(default=[])
    lexicon: str | None = None
    leaks: Literal["keep", "exclude"] = "keep"
    rules: list[RuleName] = Field(
        default=["question-marks", "frequency-tables", "empty", "over-long", "duplicate"]
    )
    max_answer_words: int | None = Field(default=None, ge=1)
    max_unusable_fraction: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _one_source_or_several(self) -> DatasetSpec:
        single = {"name", "path", "format", "revision", "columns"} & self.model_fields_set
        if self.mix is not None and single:
            raise ValueError(f"`mix` takes the place of {', '.join(sorted(single))}; give one")
        if self.max_answer_words is not None and "over-long" not in self.rules:
            raise ValueError(
                "`max_answer_words` is for the rule `over-long`, which is not in `rules`"
            )
        return self

    @property
    def sources(self) -> tuple[MixSpec, ...]:
        """The sources that are read, each with its weight."""
        if self.mix is not None:
            return tuple(self.mix)
        return (
            MixSpec(
                name=self.name,
                path=self.path,
                format=self.format,
                revision=self.revision,
                columns=self.columns,
            ),
        )

    @property
    def is_public(self) -> bool:
        """Whether the text of prompts and answers is known not to be patient data."""
        return self.public or all(source.entry.public for source in self.sources)


def known_public(sweep: Mapping[str, Any]) -> bool:
    """Return whether a sweep's texts are known not to be patient data.

    Args:
        sweep: its file as plain data; empty if there is none, as for a load test.
    """
    try:
        return DatasetSpec.model_validate(sweep["dataset"]).is_public
    except (KeyError, ValueError):
        return False
