"""Cleaning rules: each has a name, can be switched off, and is counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

QUESTION_MARKS = re.compile(r"\?{2,}$")

# GARD, one of MedQuAD's sources, copies a table of symptoms with the share of patients that have
# each, followed by how to read it. The table's heading distinguishes it from prose on frequencies.
TABLE_HEADING = re.compile(r"approximate number of patients \(when available\)", re.IGNORECASE)
TABLE = re.compile(
    r"\s*(The Human Phenotype Ontology provides the following list|Signs and Symptoms\s+"
    r"Approximate number of patients).*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Draft:
    """A pair during cleaning.

    Attributes:
        question: with white space folded.
        answer: with white space folded.
    """

    question: str
    answer: str


@dataclass(frozen=True)
class Rule:
    """One cleaning rule.

    Attributes:
        name: its name in `dataset.rules`.
        what: description in one line.
        apply: returns the cleaned draft, or None to drop it.
    """

    name: str
    what: str
    apply: Callable[[Draft], Draft | None]


def rules(names: list[str], max_answer_words: int | None) -> list[Rule]:
    """Return the active rules, in the order of their application.

    Args:
        names: names of the active rules.
        max_answer_words: longest answer that `over-long` keeps; None keeps all.
    """

    def over_long(draft: Draft) -> Draft | None:
        too_long = max_answer_words is not None and len(draft.answer.split()) > max_answer_words
        return None if too_long else draft

    seen: set[Draft] = set()

    def duplicate(draft: Draft) -> Draft | None:
        if draft in seen:
            return None
        seen.add(draft)
        return draft

    every = (
        Rule("question-marks", "repair doubled question marks: `X ? ?`", _question_marks),
        Rule("frequency-tables", "remove tables of frequencies from answers", _frequency_tables),
        Rule("empty", "drop rows without a question or an answer", _empty),
        Rule("over-long", "drop answers of more than max_answer_words words", over_long),
        Rule("duplicate", "drop a pair that occurred before", duplicate),
    )
    return [rule for rule in every if rule.name in names]


def fold(value: object) -> str:
    """Return text with white space folded, also before question marks; "" for other values."""
    return " ".join(value.split()).replace(" ?", "?") if isinstance(value, str) else ""


def _question_marks(draft: Draft) -> Draft:
    return replace(draft, question=QUESTION_MARKS.sub("?", draft.question))


def _frequency_tables(draft: Draft) -> Draft | None:
    """Keep the prose before a table; drop an answer that holds only the question and the table."""
    if not TABLE_HEADING.search(draft.answer):
        return draft
    prose = TABLE.sub("", draft.answer)
    return replace(draft, answer=prose) if prose and not prose.endswith("?") else None


def _empty(draft: Draft) -> Draft | None:
    return draft if draft.question and draft.answer else None
