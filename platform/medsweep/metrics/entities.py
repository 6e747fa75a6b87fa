"""Names and numbers in an answer that neither its question nor its reference mentions.

A flag for a reader to look at, not a verdict: a name that is in neither can be right. Names are
words with a capital letter inside a sentence, numbers are written in digits.
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
    # After a full stop and white space a capital is the sentence's, not a name's.
    inside = re.sub(r"(^|[.!?:]\s+|\n\s*)[A-Z]", lambda found: found.group().lower(), answer)
    known = f"{question} {reference}".lower()
    entities = sorted(
        [*_NAME.finditer(inside), *_NUMBER.finditer(inside)], key=lambda found: found.start()
    )
    words = dict.fromkeys(found.group() for found in entities)
    return [word for word in words if not re.search(rf"\b{re.escape(word.lower())}\b", known)]
