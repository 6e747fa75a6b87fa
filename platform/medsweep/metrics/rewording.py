"""Asks the same in other words, and looks at whether the answers still say the same."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsweep.metrics.agreement import agreement
from medsweep.metrics.resampling import share_interval

UNCHANGED = "the same again"
"""The original question again: how much answers change for no reason."""

_TYPED = 8
"""One word in this many gets a typing error, and at least one word per question."""

_LETTERS = re.compile(r"[a-z]{4,}")

_PARAPHRASES = tuple(
    (re.compile(pattern, re.IGNORECASE), template)
    for pattern, template in (
        (r"what (?:is|are) the symptoms of (.+)\?", "Which signs and symptoms does {} cause?"),
        (r"what causes (.+)\?", "What is the cause of {}?"),
        (r"what (?:is|are) the treatments? for (.+)\?", "How is {} treated?"),
        (r"how to prevent (.+)\?", "What can be done to prevent {}?"),
        (r"how to diagnose (.+)\?", "Which tests are used to diagnose {}?"),
        (r"who is at risk for (.+)\?", "Which people are more likely to get {}?"),
        (r"is (.+) inherited\?", "Can {} be passed on in families?"),
        (r"what is the outlook for (.+)\?", "What can somebody with {} expect?"),
        (r"what are the complications of (.+)\?", "Which complications can {} have?"),
        (r"how many people are affected by (.+)\?", "How common is {}?"),
        (r"what (?:is|are) (.+)\?", "Can you explain what {} is?"),
    )
)


@dataclass(frozen=True)
class ChangedShare:
    """Share of answers that changed.

    Attributes:
        share: from 0 to 1.
        low: lower end of its exact 95 % interval.
        high: upper end.
    """

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class RewordingEffect:
    """How many answers changed when their questions were put in other words.

    Attributes:
        rewording: how.
        questions: that were answered both ways.
        quantities: answers that gave other quantities: another value, one less or one more.
        contradicting: answers that contradict the first one, in a quantity or in a statement.
    """

    rewording: str
    questions: int
    quantities: ChangedShare
    contradicting: ChangedShare


def rewordings(question: str, seed: int) -> dict[str, str]:
    """Return a question in other words that ask the same, by how they were changed.

    Args:
        question: in English.
        seed: seed of the places of typing errors.
    """
    return {
        UNCHANGED: question,
        "typing errors": _mistyped(question, seed),
        "lower case": question.lower(),
        "upper case": question.upper(),
        "paraphrase": _paraphrase(question),
        "polite frame": f"Hello, I hope you can help me. {question} Thank you!",
    }


def _paraphrase(question: str) -> str:
    for pattern, template in _PARAPHRASES:
        if match := pattern.fullmatch(question.strip()):
            return template.format(match[1])
    return f"Please answer this question for me: {question}"


def _mistyped(question: str, seed: int) -> str:
    """Swap, drop or double a letter within some words; first and last letters stay."""
    rng = random.Random(f"{seed} {question}")  # noqa: S311 no secret
    words = list(_LETTERS.finditer(question))
    count = min(len(words), max(1, len(question.split()) // _TYPED))
    for word in sorted(rng.sample(words, count), key=lambda match: -match.start()):
        place = rng.randrange(word.start() + 1, word.end() - 2)
        two = question[place : place + 2]
        error = rng.choice([two[::-1], two[0], two[0] + two])
        question = question[:place] + error + question[place + 2 :]
    return question


def effects(answers: Mapping[str, Sequence[tuple[str, str]]]) -> list[RewordingEffect]:
    """Return how many answers changed, by rewording.

    Args:
        answers: pairs of the answers to the original and to the reworded question.
    """
    return [_effect(rewording, pairs) for rewording, pairs in answers.items() if pairs]


def _effect(rewording: str, pairs: Sequence[tuple[str, str]]) -> RewordingEffect:
    found = [agreement(reworded, first) for first, reworded in pairs]
    other = sum(bool(each.contradict or each.missing or each.added) for each in found)
    against = sum(not each.consistent for each in found)
    return RewordingEffect(
        rewording, len(pairs), _changed(other, len(pairs)), _changed(against, len(pairs))
    )


def _changed(count: int, total: int) -> ChangedShare:
    return ChangedShare(count / total, *share_interval(count, total))
