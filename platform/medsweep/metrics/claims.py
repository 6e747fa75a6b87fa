"""What answer and reference say beyond their words: sentences that entail or contradict the other.

As in DocLens (Xie et al. 2024), claims of the reference that the answer entails are recalled, and
claims of the answer that the reference entails are supported. A claim is a sentence here; whether
one text entails another is the verdict of a model for natural language inference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Literal, Protocol

from medsweep.metrics.sentences import sentence_spans

MOST = 200
"""Most sentences that are read from one text; the rest is ignored."""

NOT_JUDGED = "not judged: no model for entailment was given"

CLAIM_COUNTS = (
    "claims_expected",
    "claims_recalled",
    "claims_stated",
    "claims_supported",
    "claims_contradicted",
    "claims_cut",
)
"""Columns of the counts, in the order of the fields of `Claims`."""

_MARK = re.compile(r"^(?:[-*\N{BULLET}\N{EN DASH}]|[(\[]?\d{1,2}[.)\]])\s+")

Relation = Literal["entailed", "contradicted", "neither"]


@dataclass(frozen=True)
class Verdict:
    """How a text stands to a statement.

    Attributes:
        relation: of the statement to the text.
        cut: whether the model could not read all of the statement or of a sentence of the text.
    """

    relation: Relation
    cut: bool = False


class Entailment(Protocol):
    """Judges whether texts entail statements."""

    @property
    def name(self) -> str:
        """The model and its revision, for the results."""
        ...

    def judge(self, pairs: Sequence[tuple[Sequence[str], str]]) -> list[Verdict]:
        """Return the verdict of each pair: the sentences of a text, and the statement."""
        ...


@dataclass(frozen=True)
class Claims:
    """How the sentences of an answer and of its reference stand to the other text.

    Attributes:
        expected: distinct sentences of the reference.
        recalled: those that the answer entails.
        stated: distinct sentences of the answer.
        supported: those that the reference entails.
        contradicted: sentences of either that the other text contradicts.
        cut: sentences of either for which the model could not read all.
    """

    expected: int = 0
    recalled: int = 0
    stated: int = 0
    supported: int = 0
    contradicted: int = 0
    cut: int = 0

    def __add__(self, other: Claims) -> Claims:
        return Claims(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def recall(self) -> float | None:
        """Share of the reference's sentences that are recalled; None without any."""
        return self.recalled / self.expected if self.expected else None

    @property
    def precision(self) -> float | None:
        """Share of the answer's sentences that are supported; None without any."""
        return self.supported / self.stated if self.stated else None

    @property
    def consistency(self) -> float | None:
        """Share of all sentences that are not contradicted; None without any."""
        total = self.expected + self.stated
        return 1 - self.contradicted / total if total else None

    @property
    def columns(self) -> dict[str, int]:
        """The counts by the names of their columns; empty where nothing was judged."""
        if not self.expected and not self.stated:
            return {}
        return dict(zip(CLAIM_COUNTS, astuple(self), strict=True))


def statements(text: str) -> list[str]:
    """Return the distinct sentences of a text, without the marks of a list, up to `MOST`."""
    sentences = (
        _MARK.sub("", " ".join(text[start:end].split())) for start, end in sentence_spans(text)
    )
    distinct = dict.fromkeys(each for each in sentences if any(map(str.isalpha, each)))
    return list(islice(distinct, MOST))


def judged_claims(answer: str, reference: str, entailment: Entailment) -> Claims:
    """Judge every sentence of an answer and of its reference by the other text.

    A sentence that the other text holds word for word is entailed, without asking the model.

    Args:
        answer: generated text.
        reference: reference answer.
        entailment: the model.
    """
    stated, expected = statements(answer), statements(reference)
    common = set(stated) & set(expected)
    missing = [each for each in expected if each not in common]
    added = [each for each in stated if each not in common]
    verdicts = entailment.judge(
        [*((stated, each) for each in missing), *((expected, each) for each in added)]
    )
    relations = [verdict.relation for verdict in verdicts]
    return Claims(
        expected=len(expected),
        recalled=len(common) + relations[: len(missing)].count("entailed"),
        stated=len(stated),
        supported=len(common) + relations[len(missing) :].count("entailed"),
        contradicted=relations.count("contradicted"),
        cut=sum(verdict.cut for verdict in verdicts),
    )
