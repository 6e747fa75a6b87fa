"""Multiple choice: which option a generated answer names.

For sets of the shape of PubMedQA (yes, no, maybe) and of MedMCQA (four options with letters).
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from medsweep.metrics.tokens import squad_tokens

LETTERS = string.ascii_uppercase

# A letter as answers write it: B, (B), [B], **B**, `B`, \boxed{B}, \text{B}.
_MARKS = r"(?:[*_`'\"(\[{$\s]|\\[({\[]|\\boxed\s*{|\\text(?:bf)?\s*{)*"

# "B", "(B)", "B." or "B) because"; a bare "A" before more words is an article.
_AT_START = re.compile(r"\W*([A-Z])(?:[).:\]*`]|\s*(?:\n|$))")
# "\boxed{B}" is the answer wherever it stands.
_BOXED = re.compile(r"\\boxed\s*{\s*(?:\\text(?:bf)?\s*{)?\s*\(?([A-Z])\b")
# "The correct answer is **B**.", "Answer: (C)", "I think it is B", "I would choose D", "go with A".
_CHOSEN = re.compile(
    r"\b(?i:(?:(?:correct|right|best|final|my)\s+)?(?:answer|choice|option)\s*"
    r"(?:(?:is|was|would\s+be|should\s+be|must\s+be|:|=|-)\s*)+"
    r"|(?:i\s+(?:would\s+|will\s+|'d\s+)?(?:choose|pick|select|say)|i'd\s+(?:choose|pick|select|say)"
    r"|(?:go|going)\s+with)\s+"
    r"|(?:it|this|that)(?:\s+is|\s+must\s+be|\s+should\s+be|'s)\s+)"
    rf"(?:(?i:most\s+likely|likely|probably|clearly|therefore|option|choice|letter|answer)\s*)*"
    rf"{_MARKS}((?:[AI](?!\s+[a-z])|[B-HJ-Z])(?![A-Za-z']))"  # "is A mineral" has an article
)
# "... is B (Insulin)": only where nothing says it more plainly.
_IS = re.compile(rf"\b(?i:is|be)\s+{_MARKS}([A-Z])(?=[).:,;\]*`}}\"']|\s*\(|\s*(?:\n|$))")
# "option D": the weakest, since other options are named too, to be ruled out.
_NAMED = re.compile(rf"\b(?i:option|choice)\s*:?\s*{_MARKS}([A-Z])\b(?!')")


def chosen(prediction: str, options: Sequence[str]) -> int | None:
    r"""Return the place of the option that an answer chooses, from 0, or None if it cannot be told.

    What counts, in this order: a letter in `\boxed{}`; a letter at the start; the last letter that
    is stated as the answer ("the answer is B", "I would choose B"); "is B (its text)"; an option
    that is named ("option B"), if only one is; the text of an option at the start; the text of the
    only option that occurs.

    Args:
        prediction: what was generated.
        options: at most 26 texts, lettered from A.
    """
    letters = LETTERS[: len(options)]
    # Long runs of white space would take the expressions quadratic time.
    prediction = re.sub(r"\n\s*", "\n", re.sub(r"[^\S\n]+", " ", prediction))
    boxed, start = _BOXED.findall(prediction), _AT_START.match(prediction)
    named = set(_NAMED.findall(prediction))
    stated = [
        *reversed(boxed),
        *([start[1]] if start else []),
        *reversed(_CHOSEN.findall(prediction)),
        *reversed(_IS.findall(prediction)),
        *(named if len(named) == 1 else ()),
    ]
    for letter in stated:
        if letter in letters:
            return letters.index(letter)
    words = squad_tokens(prediction)
    texts = [squad_tokens(option) for option in options]
    opening = [place for place, text in enumerate(texts) if text and words[: len(text)] == text]
    if opening:
        # "no" and "no change": the longer one is what was meant.
        return max(opening, key=lambda place: len(texts[place]))
    spaced = f" {' '.join(words)} "
    inside = [place for place, text in enumerate(texts) if text and f" {' '.join(text)} " in spaced]
    return inside[0] if len(inside) == 1 else None


def right_place(answer: str | int, options: Sequence[str]) -> int:
    """Return the place of the right option, from 0.

    Args:
        answer: its letter, its text, or its place counted from 0.
        options: what there is to choose from.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(answer, int) and 0 <= answer < len(options):
        return answer
    if isinstance(answer, str):
        if answer in options:
            return options.index(answer)
        letter = answer.strip().upper()
        if len(letter) == 1 and letter in LETTERS[: len(options)]:
            return LETTERS.index(letter)
    raise ValueError("`answer` is no option: give its text, its letter or its place from 0")
