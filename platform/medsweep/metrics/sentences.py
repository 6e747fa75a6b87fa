"""Where the sentences of a text begin and end, by rules for English medical prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

_GAP = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')\]\N{RIGHT DOUBLE QUOTATION MARK}])\s+|\n+")

# No sentence ends with these. "MS." (multiple sclerosis) and "5 ms." may end one.
_TITLE = re.compile(
    r"(?:^|[\s(\[/])(?:[Ee]\.g|[Ii]\.e|[Dd]r|[Mm]rs?|Ms|[Pp]rof|[Ss]t|[Vv]s|[Cc]f|[Ff]igs?"
    r"|[Vv]iz|[Aa]pprox|U\.\s?[SK]|u\.s)\.$"
)
# A sentence may end with these: the next letter tells.
_SHORT = re.compile(r"(?:^|[\s(\[/])(?:etc|al|incl|[A-Za-z](?:\.[A-Za-z])+)\.$")
_NUMBER = re.compile(r"(?:^|[\s(\[])[Nn]os?\.$")
_LIST_MARK = re.compile(r"\s*[(\[]?\d{1,2}[.)]+$")
_LONGEST = 12
"""Characters before a gap that are looked at."""


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each sentence; a line ends one too.

    A number such as "1.5 mg", an abbreviation such as "e.g." or "Dr." and the number of a list's
    entry do not end a sentence.
    """
    start = 0
    for gap in _GAP.finditer(text):
        if "\n" in gap.group() or not _continues(text, start, gap.start(), gap.end()):
            yield start, gap.start()
            start = gap.end()
    yield start, len(text)


def _continues(text: str, start: int, end: int, following: int) -> bool:
    """Return whether a sentence continues after a full stop and white space.

    Args:
        text: which holds the sentence.
        start: place of the sentence's first character.
        end: place behind the full stop.
        following: place of the next character that is no white space.
    """
    if text[end - 1] != ".":
        return False
    before, after = text[max(start, end - _LONGEST) : end], text[following : following + 1]
    if _TITLE.search(before) or (end - start <= _LONGEST and _LIST_MARK.match(before)):
        return True
    if _SHORT.search(before):
        return after.islower()
    return bool(_NUMBER.search(before)) and after.isdigit()
