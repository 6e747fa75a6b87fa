"""Whether an answer that gives a right quantity also gives a wrong one of the same thing.

"Take 1.5 mg or 15 mg" holds the right dose and is not a right answer, but "500 mg for adults, 250
mg for children" is one. A second quantity conflicts with the first if nothing sets it apart: no
word such as "children", "then" or "evening" that the first lacks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from medsweep.metrics.numbers import MULTIPLES, NUMBER_WORDS
from medsweep.metrics.polarity import FUNCTION_WORDS, negated_spans, word_set
from medsweep.metrics.quantities import Quantity
from medsweep.metrics.units import SPELLINGS

_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCE = re.compile(r"[.;!?](?=\s|$)|(?<!:)\n")
_DELIMITER = re.compile(r",|\b(?:and|or|but|then|while|whereas)\b", re.IGNORECASE)
_OR = re.compile(r"\bor\b", re.IGNORECASE)

# Function words that set one quantity apart from another.
_DISTINGUISHING = word_set(
    """
    then before after over under until since during when if other another each every both more less
    than same own either except but not without
    """
)
# Words that set nothing apart: two doses are not of two things because one is called "usual".
_NEUTRAL = word_set(
    """
    usual usually recommended recommend recommends recommendation typical typically normal normally
    standard common commonly dose doses dosage dosages dosing amount take takes taken taking give
    gives given giving receive receives use uses used using prescribe prescribes prescribed about
    approximately around roughly medicine medicines medication medications drug drugs people person
    persons patient patients individual individuals doctor doctors say says according suggest
    suggests suggested sources total
    """
)
# Words for units set nothing apart either, but those for people do: "adults", "children".
_UNITS = frozenset(re.findall(r"\w+", " ".join(SPELLINGS.values())))
_PEOPLE = frozenset(re.findall(r"\w+", SPELLINGS["person"]))
_IGNORED = (
    (FUNCTION_WORDS - _DISTINGUISHING)
    | (_UNITS - _PEOPLE)
    | _NEUTRAL
    | NUMBER_WORDS.keys()
    | MULTIPLES.keys()
)


@dataclass(frozen=True)
class _Subject:
    """What one mention of a quantity is about.

    Attributes:
        words: that set it apart.
        listed: whether it follows another in a list without "or", as in "5 mg, 10 mg and 20 mg".
        alternative: whether it follows another after "or".
        negated: whether the text denies it.
    """

    words: frozenset[str]
    listed: bool
    alternative: bool
    negated: bool

    def replaces(self, right: _Subject, expected: frozenset[str]) -> bool:
        """Whether it is about the same thing as a right quantity, and affirmed.

        Args:
            right: what the right quantity is about.
            expected: words of what the quantity is of, in the reference.
        """
        if self.negated or self.listed or self.words - right.words - expected:
            return False
        # A few words that a long statement has too do not show that both are about the same.
        return self.alternative or len(right.words) <= 2 * len(self.words) + 1


class Subjects:
    """What the quantities of a text are about.

    Args:
        text: which holds the quantities.
        mentions: its quantities in order, each mention of its own.
    """

    def __init__(self, text: str, mentions: Sequence[Quantity]) -> None:
        self._text = text
        self._mentions = mentions
        self._breaks = [match.end() for match in _SENTENCE.finditer(text)]
        self._negated = negated_spans(text)
        self._known: dict[tuple[str, float, float], list[_Subject]] = {}

    def conflict(self, right: Quantity, wrong: Quantity, expected: frozenset[str]) -> bool:
        """Return whether one quantity is given in place of another.

        Args:
            right: agrees with the reference.
            wrong: of the same dimension, not in the reference.
            expected: words of what the quantity is of, in the reference.
        """
        # A number without a word may be that of a list's entry.
        needs_words = right.dimension == "number"
        return any(
            other.replaces(one, expected) and (other.words or not needs_words)
            for one, other in product(self._of(right), self._of(wrong))
        )

    def words(self, quantity: Quantity) -> frozenset[str]:
        """Return the words that say what a quantity is of, in all its mentions."""
        return frozenset[str]().union(*(subject.words for subject in self._of(quantity)))

    def _of(self, quantity: Quantity) -> list[_Subject]:
        """Return the subjects of all mentions of a quantity."""
        key = quantity.dimension, quantity.low, quantity.high
        if key not in self._known:
            same = [each for each in self._mentions if each.dimension == quantity.dimension]
            self._known[key] = [
                self._subject(same, place)
                for place, each in enumerate(same)
                if (each.low, each.high) == (quantity.low, quantity.high)
            ]
        return self._known[key]

    def _subject(self, same: Sequence[Quantity], place: int) -> _Subject:
        """Return the subject of a mention: the words between it and its neighbours.

        The words between two quantities of a sentence belong to the first up to a comma or a
        conjunction, and to the second from there; to both if there is none.

        Args:
            same: the quantities of its dimension, in order.
            place: of the mention among them.
        """
        span = same[place].span
        begin = max((each for each in self._breaks if each <= span.start), default=0)
        end = min((each for each in self._breaks if each >= span.end), default=len(self._text))
        earlier = [each.span.end for each in same[:place] if begin < each.span.end <= span.start]
        later = [each.span.start for each in same[place + 1 :] if span.end <= each.span.start < end]
        before = self._text[earlier[-1] if earlier else begin : span.start]
        after = _DELIMITER.split(self._text[span.end : end], maxsplit=1)[0]
        if later:
            after = after[: later[0] - span.end]
        alternative = bool(earlier) and _OR.search(before) is not None
        listed = bool(earlier) and not alternative and not _content(before)
        if earlier and (delimiter := _DELIMITER.search(before)):
            before = before[delimiter.start() :]
        return _Subject(
            words=_content(f"{before} {after}"),
            listed=listed,
            alternative=alternative,
            negated=any(low <= span.start < high for low, high in self._negated),
        )


def _content(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text)) - _IGNORED
