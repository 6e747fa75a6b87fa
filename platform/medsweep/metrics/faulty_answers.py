"""What is wrong with an answer whatever its reference says: empty, a refusal, cut off."""

from __future__ import annotations

import re

# Where a refusal says so. Models that refuse do it at once; further on, "I cannot" is prose.
_OPENING_CHARACTERS = 200

# English only, and a rule of thumb: phrases of chat models that decline to answer. Advice to see
# a doctor is not among them, since MedQuAD's own references give it.
_CANNOT = r"(?:can't|cannot|can not|won't|will not|am unable to|am not able to|do not)"
_DOES = r"(?:answer|assist|help|provide|give|offer|diagnose|comply|discuss)"
_REFUSAL = re.compile(
    "|".join(
        (
            r"\bas an ai\b",
            r"\bas a (?:large )?language model\b",
            rf"\bi(?:'m| am) (?:very |so )?sorry,? (?:but )?i {_CANNOT}\b",
            rf"\bi {_CANNOT} {_DOES}\b",
            rf"\b(?:i'm|i am) (?:unable|not able|not allowed|not permitted) to {_DOES}\b",
            r"\bi(?:'m| am) not (?:a|your) (?:doctor|physician|medical professional|clinician)\b",
            rf"\bi(?:'m| am) not (?:qualified|licensed|trained|in a position) to {_DOES}\b",
            r"\bi (?:must|have to) (?:decline|refuse)\b",
            rf"\b(?:it would|it's|it is) not (?:be )?(?:appropriate|safe) for me to {_DOES}\b",
        )
    ),
    re.IGNORECASE,
)

TRUNCATED = "length"
"""OpenAI's `finish_reason` of an answer that was cut off at the longest allowed."""


def is_empty(answer: str) -> bool:
    """Return whether an answer holds nothing but white space."""
    return not answer.strip()


def is_refusal(answer: str) -> bool:
    """Return whether an answer opens by declining to answer, as far as its phrases show."""
    return _REFUSAL.search(answer[:_OPENING_CHARACTERS].replace("\u2019", "'")) is not None
