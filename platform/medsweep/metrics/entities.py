"""Names and numbers in which an answer and its reference differ.

They are hints for a reader, not verdicts: a name that is in neither question nor reference can be
right, and an answer need not repeat everything in the reference. Names are words with a capital
letter inside a sentence, numbers are written in digits.

Answers may be hostile or broken, so the time is linear in the length of a text, whatever it holds.
"""

from __future__ import annotations

import re

MOST = 500
"""Names and numbers of a text that are compared; the rest is left out."""

_WORD = re.compile(r"\S+")
_WORD_CHARACTERS = re.compile(r"\w+")
# A capital at the start of a sentence means nothing; "I" is no name.
_NAME = re.compile(r"(?<![.!?:\n])(?<=[\s(])\b([A-Z][A-Za-z'-]+[0-9]*)\b")
_NUMBER = re.compile(r"\b\d+(?:[.,]\d+)*\b")


def unsupported_entities(answer: str, question: str, reference: str) -> list[str]:
    """Return the names and numbers of an answer that are in neither other text, in order.

    Args:
        answer: generated text.
        question: the question.
        reference: reference answer.
    """
    return _missing(entities(answer), f"{question} {reference}")


def left_out(answer: str, question: str, reference: str) -> list[str]:
    """Return the names and numbers of a reference that its answer does not mention, in order.

    Args:
        answer: generated text.
        question: the question; names in it are not expected in the answer.
        reference: reference answer.
    """
    return _missing(entities(reference), f"{question} {answer}")


def entities(text: str) -> list[str]:
    """Return the first names and numbers of a text, each once, in order."""
    inside = _without_sentence_capitals(text)
    matches = [*_NAME.finditer(inside), *_NUMBER.finditer(inside)]
    matches.sort(key=lambda match: match.start())
    return list(dict.fromkeys(match.group() for match in matches))[:MOST]


def _without_sentence_capitals(text: str) -> str:
    """Return a text in which the capital that begins a sentence or a line is a small letter."""
    pieces, end, last = [], 0, "\n"
    for word in _WORD.finditer(text):
        gap = text[end : word.start()]
        begins = last in ".!?:\n" or "\n" in gap
        pieces += [gap, word.group()[0].lower() if begins else word.group()[0], word.group()[1:]]
        end, last = word.end(), word.group()[-1]
    return "".join(pieces)


def _missing(words: list[str], text: str) -> list[str]:
    """Return the words that a text does not mention, in any case."""
    lowered = text.lower()
    mentioned = set(_WORD_CHARACTERS.findall(lowered))

    def is_mentioned(word: str) -> bool:
        if word.lower() in mentioned:
            return True
        # A word with a hyphen, an apostrophe or a point, or none: only those are searched for.
        return word.lower() in lowered and bool(
            re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE)
        )

    return [word for word in words if not is_mentioned(word)]
