"""Attributes that one text turns into their opposites, however different its other words are.

Sentences are compared only if they share most of their words (`metrics.agreement`). These few
attributes are compared across a complete text: the mode of inheritance, and words such as "left"
and "chronic" with the word that they describe. English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from medsweep.metrics.polarity import FUNCTION_WORDS, negation_scopes
from medsweep.metrics.sentences import sentence_spans

_ADJECTIVES = re.findall(
    r"(\w+)/(\w+)",
    """
    left/right adult/child adult/childhood adult/pediatric acute/chronic benign/malignant
    upper/lower anterior/posterior proximal/distal internal/external maternal/paternal
    bacterial/viral male/female systolic/diastolic
    """,
)
"""Words that say which one is meant. Those of degree ("severe", "high") are left out: two right
answers often differ in them."""

_NOT_INHERITED = "not inherited"
_MODES = (
    ("dominant", "recessive"),
    ("autosomal", "linked"),
    ("dominant", _NOT_INHERITED),
    ("recessive", _NOT_INHERITED),
)

_OPPOSITE: dict[str, set[str]] = {}
for _one, _other in (*_ADJECTIVES, *_MODES):
    _OPPOSITE.setdefault(_one, set()).add(_other)
    _OPPOSITE.setdefault(_other, set()).add(_one)

_EITHER = "|".join(dict.fromkeys(word for pair in _ADJECTIVES for word in pair))
# Not "upper left chamber", of which "lower right chamber" is another one and no opposite.
_DESCRIBED = re.compile(rf"\b((?:(?:{_EITHER})[\s-]+)+)([a-z]{{3,}})")
# Not "autosomal recessive PKD", which names one of several diseases.
_INHERITED = re.compile(
    r"\b(?:(?P<link>autosomal|x[\s-]linked)(?:[\s-]+(?P<mode>dominant|recessive))?"
    r"|(?P<bare>dominant|recessive))(?=\s*[.,;:)]|\s*$|\s+(?:manner|pattern|fashion|way|trait"
    r"|inherit|mode|condition|disorder|disease|and|or)\b|\s+inheritance)"
    r"|\b(?P<non>non[\s-]?)?(?P<inherited>inherit(?:s|ed|able)?|hereditary)\b"
)
_QUALIFIED = re.compile(
    r"\b(?:cases?|some|most|many|percent|sometimes|rarely|if|when|mutations?"
    r"|autosomal|linked|dominant|recessive)\b|%"
)
"""A sentence with one of these does not say that a disease is never inherited."""


@dataclass(frozen=True)
class _Attribute:
    """A word, what it describes, where its sentence begins, and whether it is negated."""

    word: str
    of: str
    sentence: int
    negated: bool


def turned_attributes(answer: str, reference: str) -> set[int]:
    """Return where the sentences of a reference begin of which an answer turns an attribute around.

    The answer has to give the opposite and never the attribute itself; a reference that has both
    is not contradicted. Questions state nothing.

    Args:
        answer: generated text.
        reference: reference answer.
    """
    expected = list(_attributes(reference))
    if not expected:
        return set()
    given = list(_attributes(answer))
    told = {(each.word, each.of) for each in given if not each.negated}
    answer_has, reference_has = (
        {(each.word, each.of) for each in attributes} for attributes in (given, expected)
    )
    return {
        each.sentence
        for each in expected
        if not each.negated and (each.word, each.of) not in answer_has
        for other in _OPPOSITE.get(each.word, ())
        if (other, each.of) in told and (other, each.of) not in reference_has
    }


def _attributes(text: str) -> Iterator[_Attribute]:
    for start, end in sentence_spans(text):
        sentence = text[start:end].lower().rstrip()
        named = [*_DESCRIBED.finditer(sentence), *_INHERITED.finditer(sentence)]
        if not named or sentence.endswith("?"):
            continue
        scopes = negation_scopes(sentence, 0, len(sentence))
        qualified = _QUALIFIED.search(sentence) is not None
        for found in named:
            negated = any(low <= found.start() < high for low, high in scopes)
            if found.re is _DESCRIBED or not (negated or found["non"]):
                for word, of in _named(found):
                    yield _Attribute(word, of, start, negated)
            elif found["inherited"] and not qualified:
                yield _Attribute(_NOT_INHERITED, "inheritance", start, negated=False)


def _named(found: re.Match[str]) -> Iterator[tuple[str, str]]:
    if found.re is _DESCRIBED:
        words = re.split(r"[\s-]+", found[1].strip(" -\n\t"))
        if len(words) == 1 and found[2] not in FUNCTION_WORDS:
            yield words[0], found[2].removesuffix("s")
        return
    if found["link"]:
        yield ("autosomal" if found["link"] == "autosomal" else "linked"), "chromosome"
    if mode := found["mode"] or found["bare"]:
        yield mode, "inheritance"
