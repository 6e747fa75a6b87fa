"""Which asked answers were learnt: near-duplicates between the two sides of a dataset.

An answer counts as learnt if one learnt answer has more than half of its 8-grams (words in lower
case, without punctuation), or if a learnt question has the same words. Answers of fewer than 8
words are compared in full.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from medsweep.datasets.spec import Pair

GRAM = 8
SHARED = 0.5


@dataclass(frozen=True)
class Leak:
    """An asked question whose answer was learnt.

    Attributes:
        question_id: of the asked pair.
        learnt_id: of the learnt pair that has most of it.
        share: share of the asked answer's distinct 8-grams in that one learnt answer.
        same_question: whether a learnt question has the same words, in any order.
    """

    question_id: str
    learnt_id: str
    share: float
    same_question: bool


def leaks(train: Sequence[Pair], evaluation: Sequence[Pair]) -> list[Leak]:
    """Return the asked questions whose answers were learnt, in the order of asking.

    Args:
        train: pairs that are learnt.
        evaluation: pairs that are asked.
    """
    most: dict[str, Leak] = {}
    for _, leak in _leaking(train, evaluation):
        known = most.get(leak.question_id)
        if known is None:
            most[leak.question_id] = leak
        else:
            larger = max(known, leak, key=lambda each: each.share)
            same = known.same_question or leak.same_question
            most[leak.question_id] = replace(larger, same_question=same)
    return [most[pair.question_id] for pair in evaluation if pair.question_id in most]


def without_leaks(train: Sequence[Pair], evaluation: Sequence[Pair]) -> list[Pair]:
    """Return the learnt pairs without those that hold an asked answer or question.

    Args:
        train: pairs that would be learnt.
        evaluation: pairs that are asked.
    """
    leaking = {place for place, _ in _leaking(train, evaluation)}
    return [pair for place, pair in enumerate(train) if place not in leaking]


def _leaking(train: Sequence[Pair], evaluation: Sequence[Pair]) -> Iterator[tuple[int, Leak]]:
    """Yield each leak with the place of the learnt pair; keeps only the asked side's 8-grams."""
    asked = [set(_grams(pair.answer)) for pair in evaluation]
    places: dict[int, list[int]] = defaultdict(list)
    for place, grams in enumerate(asked):
        for gram in grams:
            places[gram].append(place)
    questions: dict[frozenset[str], list[int]] = defaultdict(list)
    for place, pair in enumerate(evaluation):
        questions[_bag(pair.question)].append(place)
    for number, pair in enumerate(train):
        shared = Counter(
            place for gram in set(_grams(pair.answer)) & places.keys() for place in places[gram]
        )
        same = questions.get(_bag(pair.question), ())
        for place in {*shared, *same}:
            share = shared[place] / max(len(asked[place]), 1)
            if share > SHARED or place in same:
                asked_id = evaluation[place].question_id
                yield number, Leak(asked_id, pair.question_id, share, place in same)


def normalise_question(question: str) -> str:
    """Return a text in lower case without punctuation and with single spaces."""
    return " ".join(re.sub(r"[^\w\s]", " ", question.lower()).split())


def _grams(text: str) -> Iterator[int]:
    words = normalise_question(text).split()
    if len(words) < GRAM:
        if words:
            yield hash(tuple(words))
        return
    for start in range(len(words) - GRAM + 1):
        yield hash(tuple(words[start : start + GRAM]))


def _bag(question: str) -> frozenset[str]:
    return frozenset(normalise_question(question).split())
