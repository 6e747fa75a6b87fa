"""Names and numbers in which an answer and its reference differ.

Flags for a reader to look at, not verdicts: a name that is in neither question nor reference can be
right, and what the reference adds need not be wanted. Names are words with a capital letter inside
a sentence, numbers are written in digits.
"""

from __future__ import annotations

import re

# A capital at the start of a sentence says nothing; "I" is no name.
_NAME = re.compile(r"(?<![.!?:\n])(?<=[\s(])\b([A-Z][A-Za-z'-]+[0-9]*)\b")
_NUMBER = re.compile(r"\b\d+(?:[.,]\d+)*\b")


def unsupported_entities(answer: str, question: str, reference: str) -> list[str]:
    """Return the names and numbers of an answer that stand in neither other text, in order.

    Args:
        answer: what was generated.
        question: what was asked.
        reference: what the answer is held against.
    """
    known = f"{question} {reference}"
    return [word for word in entities(answer) if not _mentions(known, word)]


def left_out(answer: str, question: str, reference: str) -> list[str]:
    """Return the names and numbers of a reference that its answer does not mention, in order.

    Args:
        answer: what was generated.
        question: what was asked; what it names already counts for nothing.
        reference: what the answer is held against.
    """
    known = f"{question} {answer}"
    return [word for word in entities(reference) if not _mentions(known, word)]


def entities(text: str) -> list[str]:
    """Return the names and numbers of a text, each once, in order."""
    # After a full stop and white space a capital is the sentence's, not a name's.
    inside = re.sub(r"(^|[.!?:]\s+|\n\s*)[A-Z]", lambda found: found.group().lower(), text)
    found = sorted(
        [*_NAME.finditer(inside), *_NUMBER.finditer(inside)], key=lambda found: found.start()
    )
    return list(dict.fromkeys(each.group() for each in found))


def _mentions(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE) is not None
