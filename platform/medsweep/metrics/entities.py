"""Names and numbers in which an answer and its reference differ.

They are hints for a reader, not verdicts: a name in neither question nor reference can be right,
and an answer need not repeat all of the reference. Names are capitalized words inside a sentence;
numbers are written in digits.

Answers may be hostile or broken, so the run time is linear in the length of any text.
"""

from __future__ import annotations

import re

MOST = 500
"""Most names and numbers that are compared per text; the rest is ignored."""

_WORD = re.compile(r"\S+")
_WORD_CHARACTERS = re.compile(r"\w+")
# A capital at the start of a sentence does not mark a name, and neither does "I".
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
    """Return the names and numbers of a text, each once and in order, up to `MOST`."""
    inside = _without_sentence_capitals(text)
    matches = [*_NAME.finditer(inside), *_NUMBER.finditer(inside)]
    matches.sort(key=lambda match: match.start())
    return list(dict.fromkeys(match.group() for match in matches))[:MOST]


def _without_sentence_capitals(text: str) -> str:
    """Return the text with the first letter of each sentence and line in lower case."""
    pieces, end, last = [], 0, "\n"
    for word in _WORD.finditer(text):
        gap = text[end : word.start()]
        begins = last in ".!?:\n" or "\n" in gap
        pieces += [gap, word.group()[0].lower() if begins else word.group()[0], word.group()[1:]]
        end, last = word.end(), word.group()[-1]
    return "".join(pieces)


def _missing(words: list[str], text: str) -> list[str]:
    """Return the words that a text does not mention, ignoring case."""
    lowered = text.lower()
    mentioned = set(_WORD_CHARACTERS.findall(lowered))

    def is_mentioned(word: str) -> bool:
        if word.lower() in mentioned:
            return True
        # Only words with a hyphen, an apostrophe or a point need the slower search.
        return word.lower() in lowered and bool(
            re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE)
        )

    return [word for word in words if not is_mentioned(word)]
