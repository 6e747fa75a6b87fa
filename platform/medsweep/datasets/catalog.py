"""The datasets: the embedded corpus, three on the Hugging Face hub, and the user's own files."""

from __future__ import annotations

from dataclasses import dataclass

from medsweep.table import NamedTable


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset.

    Attributes:
        name: its name in MedSweep.
        hub_id: repository on the Hugging Face hub; None where there is none.
        revision: commit of that repository; None where there is none.
        public: whether its text is known not to be patient data.
        question, answer, question_type: its columns; no type where it is None.
        withholds: whether its publisher left answers out on purpose.
        licence: SPDX identifier, or the licence's own name; None where the user knows it.
        what: description in one line.
    """

    name: str
    hub_id: str | None
    revision: str | None
    public: bool
    question: str
    answer: str
    question_type: str | None
    withholds: bool
    licence: str | None
    what: str


# Columns as on the hub's dataset pages. Each revision is pinned by two or more public projects and
# was last changed in 2023. MedQuAD's own licence is CC BY 4.0 (abachaa/MedQuAD); its publisher
# withdrew the answers that come from MedlinePlus, two thirds of the rows.
DATASETS = NamedTable(
    "dataset",
    (
        DatasetEntry(
            name="embedded",
            hub_id=None,
            revision=None,
            public=True,
            question="question",
            answer="answer",
            question_type="question_type",
            withholds=False,
            licence="Apache-2.0",
            what="question-answer pairs written for MedSweep; not medical advice",
        ),
        DatasetEntry(
            name="medquad",
            hub_id="lavita/MedQuAD",
            revision="84ea67f83cec9692ad254eaa02c9731b24ecfe4c",
            public=True,
            question="question",
            answer="answer",
            question_type="question_type",
            withholds=True,
            licence="CC-BY-4.0",
            what="MedQuAD: questions and answers from NIH sites",
        ),
        DatasetEntry(
            name="medquad-qna",
            hub_id="keivalya/MedQuad-MedicalQnADataset",
            revision="5b0961fbaa6d7f9c344c5d59c29943fb900c2eca",
            public=True,
            question="Question",
            answer="Answer",
            question_type="qtype",
            withholds=False,
            licence="CC-BY-4.0",
            what="MedQuAD without the rows that have no answer",
        ),
        DatasetEntry(
            name="wikidoc",
            hub_id="medalpaca/medical_meadow_wikidoc",
            revision="976bce16fd66f55e6828422b71249a7405a11aa4",
            public=True,
            question="input",
            answer="output",
            question_type=None,
            withholds=False,
            licence="cc",
            what="Medical Meadow WikiDoc: rephrased paragraphs of WikiDoc",
        ),
        DatasetEntry(
            name="local",
            hub_id=None,
            revision=None,
            public=False,
            question="question",
            answer="answer",
            question_type="question_type",
            withholds=False,
            licence=None,
            what="your own JSON, JSONL, CSV or Parquet file, given by `path`",
        ),
    ),
)
