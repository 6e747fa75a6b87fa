"""Whether an answer that gives a right quantity also gives a wrong one of the same thing.

"Take 1.5 mg or 15 mg" holds the right dose and is not a right answer, but "500 mg for adults, 250
mg for children" is one. A second quantity conflicts with the first if nothing sets it apart that
the first lacks: no word such as "children", "then" or "evening", no age, day or "type 2".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from medsweep.metrics.numbers import MULTIPLES, NUMBER_WORDS
from medsweep.metrics.polarity import FUNCTION_WORDS, negated_spans, word_set
from medsweep.metrics.quantities import NAMES, TIMES, Quantity
from medsweep.metrics.units import SPELLINGS

_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCE = re.compile(r"[.;!?](?=\s|$)|(?<!:)\n")
_DELIMITER = re.compile(r",|\b(?:and|or|but|then|while|whereas)\b", re.IGNORECASE)
_OR = re.compile(r"\bor\b", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:\b(?:not|never)|n['\u2019]t)\s(?:(?:be|the|an?|about|for|in|at|by|every)\s)*$",
    re.IGNORECASE,
)
_LONGEST_DENIAL = 40

# When and for whom something is done.
_OCCASIONS = NAMES | {"number", "age", "year", "[time]"}

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
    | TIMES.keys()
    | {"times"}
)


@dataclass(frozen=True)
class _Subject:
    """What one mention of a quantity is about.

    Attributes:
        words: that set it apart.
        marks: the words, and the other quantities that set it apart: an age, a day, "type 2".
        rates: amounts per time that it is part of, such as 1 g a day for "500 mg twice a day".
        listed: whether it follows another in a list without "or", as in "5 mg, 10 mg and 20 mg".
        alternative: whether it follows another after "or".
        negated: whether the text denies it.
    """

    words: frozenset[str]
    marks: frozenset[str]
    rates: frozenset[str]
    listed: bool
    alternative: bool
    negated: bool

    def replaces(self, right: _Subject, expected: frozenset[str]) -> bool:
        """Whether it is about the same thing as a right quantity, and affirmed.

        Args:
            right: what the right quantity is about.
            expected: what sets the quantity apart in the reference.
        """
        if self.negated or self.listed or self.marks - right.marks - expected:
            return False
        if self.rates & right.rates:
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
            expected: what sets the quantity apart in the reference.
        """
        # A number without a word may be that of a list's entry.
        needs_words = right.dimension == "number"
        return any(
            other.replaces(one, expected) and (other.words or not needs_words)
            for one, other in product(self._of(right), self._of(wrong))
        )

    def marks(self, quantity: Quantity) -> frozenset[str]:
        """Return what sets a quantity apart, in all its mentions."""
        return frozenset[str]().union(*(subject.marks for subject in self._of(quantity)))

    def negates(self, quantity: Quantity) -> bool:
        """Return whether a mention of a quantity is in the scope of a negation."""
        return any(subject.negated for subject in self._of(quantity))

    def denies(self, quantity: Quantity) -> bool:
        """Return whether "not" stands directly before every mention of a quantity.

        The scope of a negation may hold right values: "The cause is not known, and 5 % die".
        """
        key = _key(quantity)
        same = [each for each in self._mentions if _key(each) == key]
        starts = [each.values[0].start if each.values else 0 for each in same]
        return all(
            _DENIED.search(self._text, max(start - _LONGEST_DENIAL, 0), start) for start in starts
        )

    def _of(self, quantity: Quantity) -> list[_Subject]:
        """Return the subjects of all mentions of a quantity."""
        key = _key(quantity)
        if key not in self._known:
            same = [each for each in self._mentions if each.dimension == quantity.dimension]
            self._known[key] = [
                self._subject(same, place) for place, each in enumerate(same) if _key(each) == key
            ]
        return self._known[key]

    def _subject(self, same: Sequence[Quantity], place: int) -> _Subject:
        """Return the subject of a mention: what stands between it and its neighbours.

        The words between two quantities of a sentence belong to the first up to a comma or a
        conjunction, and to the second from there; to both if there is none.

        Args:
            same: the quantities of its dimension, in order.
            place: of the mention among them.
        """
        text, quantity, span = self._text, same[place], same[place].span
        begin = max((each for each in self._breaks if each <= span.start), default=0)
        end = min((each for each in self._breaks if each >= span.end), default=len(text))
        earlier = [each.span.end for each in same[:place] if begin < each.span.end <= span.start]
        later = [each.span.start for each in same[place + 1 :] if span.end <= each.span.start < end]
        begin, end = max([begin, *earlier]), min([end, *later])
        first, last = begin, end
        alternative = bool(earlier) and _OR.search(text, begin, span.start) is not None
        if earlier and (delimiter := _DELIMITER.search(text, begin, span.start)):
            first = delimiter.start()
        if delimiter := _DELIMITER.search(text, span.end, end):
            last = delimiter.start()
        words = _content(f"{text[first : span.start]} {text[span.end : last]}")
        return _Subject(
            words=words,
            marks=words | _marks(quantity, self._others(quantity, first, last)),
            rates=_rates(quantity, self._others(quantity, begin, end)),
            listed=bool(earlier)
            and not alternative
            and not _content(text[begin : span.start])
            and not self._others(quantity, begin, span.start),
            alternative=alternative,
            negated=any(low <= span.start < high for low, high in self._negated),
        )

    def _others(self, quantity: Quantity, begin: int, end: int) -> list[Quantity]:
        """Return the quantities of other dimensions between two places of the text."""
        return [
            each
            for each in self._mentions
            if each.dimension != quantity.dimension
            and begin <= each.span.start
            and each.span.end <= end
        ]


def _key(quantity: Quantity) -> tuple[str, float, float]:
    return quantity.dimension, quantity.low, quantity.high


def _content(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text)) - _IGNORED


def _marks(quantity: Quantity, others: Sequence[Quantity]) -> frozenset[str]:
    """Return the quantities beside one that set it apart.

    A dose and a frequency do not: if both are wrong, each would excuse the other.
    """
    telling = [each for each in others if each.dimension != "frequency"]
    if quantity.dimension == "frequency":
        telling = [each for each in others if each.dimension in _OCCASIONS]
    return frozenset(_written(*_key(each)) for each in telling)


def _rates(quantity: Quantity, others: Sequence[Quantity]) -> frozenset[str]:
    """Return what a dose and the frequencies beside it make per time, or a frequency and doses."""
    if quantity.dimension == "frequency":
        pairs = [(each, quantity) for each in others]
    else:
        pairs = [(quantity, each) for each in others if each.dimension == "frequency"]
    return frozenset(
        _written(dose.dimension, dose.low * times.low, dose.high * times.high)
        for dose, times in pairs
    )


def _written(dimension: str, low: float, high: float) -> str:
    """Return a quantity as text; values that differ by rounding alone are the same."""
    return f"{dimension} {low:.6g} {high:.6g}"
