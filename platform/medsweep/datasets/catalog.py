"""The datasets: the embedded corpus, six on the Hugging Face hub, and the user's own files."""

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
        config: subset of the repository; None where it has only one.
        split: split of the repository.
        choices: whether its questions are multiple choice: `medsweep score` asks them, sweeps do
            not.
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
    config: str | None = None
    split: str = "train"
    choices: bool = False


# Columns as on the hub's dataset pages. Each revision is pinned by two or more public projects and
# was last changed in 2023 or 2024. MedQuAD's own licence is CC BY 4.0 (abachaa/MedQuAD); its
# publisher withdrew the answers that come from MedlinePlus, two thirds of the rows. The licences of
# the multiple-choice sets are those of their pages on the hub; the publisher's repository of MedQA
# (jind11/MedQA) is under MIT. Test sets where their answers are public (MedMCQA withholds them).
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
            name="medqa",
            hub_id="GBaker/MedQA-USMLE-4-options",
            revision="0fb93dd23a7339b6dcd27e241cb9b5eca62d4d18",
            public=True,
            question="question",
            answer="answer_idx",
            question_type="meta_info",
            withholds=False,
            licence="CC-BY-4.0",
            what="MedQA: questions of the USMLE, four options, 1,273 of the test set",
            split="test",
            choices=True,
        ),
        DatasetEntry(
            name="medmcqa",
            hub_id="openlifescienceai/medmcqa",
            revision="91c6572c454088bf71b679ad90aa8dffcd0d5868",
            public=True,
            question="question",
            answer="cop",
            question_type="subject_name",
            withholds=False,
            licence="Apache-2.0",
            what="MedMCQA: questions of AIIMS and NEET PG, four options, 4,183 for validation",
            split="validation",
            choices=True,
        ),
        DatasetEntry(
            name="pubmedqa",
            hub_id="qiaojin/PubMedQA",
            revision="9001f2853fb87cab8d220904e0de81ac6973b318",
            public=True,
            question="question",
            answer="final_decision",
            question_type=None,
            withholds=False,
            licence="MIT",
            what="PubMedQA: yes, no or maybe from an abstract, 1,000 labelled by experts",
            config="pqa_labeled",
            choices=True,
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
