"""Quantities of a text: doses, ranges, limits, frequencies, durations, shares and grades.

Read are digits, fractions, and number words before a unit. "500 mg twice a day" is a dose and a
frequency, and so is "5 mg/day"; times per minute or hour stay rates. A number inside a word ("B12",
"COVID-19") is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from medsweep.metrics.numbers import (
    MULTIPLES,
    NUMBER_WORDS,
    NumberReader,
    Span,
    UnitMention,
    Value,
)
from medsweep.metrics.polarity import content_words
from medsweep.metrics.units import UNIT_WORDS, scale, unit_at

MOST = 300
"""Most quantities that are read from one text; the rest is ignored."""

_CONTEXT = 80
"""Characters on either side whose words are a quantity's context."""

_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8, "ix": 9}
TIMES = {"once": 1.0, "twice": 2.0, "thrice": 3.0}
"""Words that count how often."""

_CODES = {"qd": 1.0, "bid": 2.0, "tid": 3.0, "qid": 4.0}
NAMES = frozenset({"type", "stage", "grade", "class", "phase", "chromosome", "trisomy", "factor"})
"""Words before numbers that name something: type 1 and type 2 are two diseases, not two values."""

_LABELS = NAMES | {"ph", "bmi", "inr", "score", "step"}
_DASHES = frozenset({"-", "\N{EN DASH}", "\N{EM DASH}"})
_JOINS = _DASHES | {"to", "and", "through"}
_TRIGGERS = frozenset({*NUMBER_WORDS, *TIMES, *_LABELS, *_CODES, "every", "b", "t", "q"})
"""Words that a quantity can begin with."""

_LIMIT = re.compile(
    r"(?:(?P<below>[<≤]\s?=?|\b(?:less|fewer|lower|smaller|shorter|younger)\sthan"
    r"|\b(?:less\sthan|fewer\sthan)\sor\sequal\sto|\bunder(?:\sage)?|\bbelow|\bup\sto|\bat\smost"
    r"|\bnot?\s(?:more|greater|longer)\sthan|\bwithin|\bmaximum\sof|\bnot\sexceed(?:ing)?)"
    r"|(?P<above>[>≥]\s?=?|\b(?:more|greater|higher|larger|longer|older)\sthan"
    r"|\b(?:more|greater)\sthan\sor\sequal\sto|\bover(?:\sage)?|\babove|\bat\sleast"
    r"|\bnot?\s(?:less|fewer)\sthan|\bexceed(?:s|ing)?|\bminimum\sof))"
    r"\s?(?:(?:about|approximately|the\sage\sof|age|a)\s)?$",
    re.IGNORECASE,
)
_LONGEST_LIMIT = 40
_YEAR = re.compile(r"(?:19|20)\d\d")
"""What "in" may stand before without being a total: "3 in 2010"."""
_YEAR_BEFORE = re.compile(
    r"\b(?:in|since|by|until|from|during|before|after|early|late|years?"
    r"|(?:(?:jan|febr)uary|march|april|may|june|july|august|october|(?:sept|nov|dec)ember)"
    r"(?:\s\d{1,2},)?)\s$",
    re.IGNORECASE,
)
"""What stands before a year: 2000 steps a day are none."""

_AGE_BEFORE = re.compile(
    r"(?:\bage[sd]?|\b(?:older|younger)\sthan)(?:\s(?:of|about|around|approximately|between|is))*\s$",
    re.IGNORECASE,
)
_AGE_AFTER = re.compile(r"[\s-](?:old\b|of\sage\b|(?:or|and)\s(?:older|younger)\b)", re.IGNORECASE)
_AGE_WORDS = frozenset({"age", "aged", "ages", "old", "older", "younger"})

_TAIL = re.compile(
    r"(?P<above>\s?\+(?!\s?\d)|\s(?:or|and)\s(?:more|older|above|over|greater|higher|longer)\b)"
    r"|(?P<below>\s(?:or|and)\s(?:less|younger|below|under|fewer|lower|shorter)\b)",
    re.IGNORECASE,
)


_NOWHERE = Span(0, 0)


@dataclass(frozen=True)
class Quantity:
    """One quantity: a value, a range, or everything below or above a limit.

    Attributes:
        dimension: what can be compared with it: that of its unit, `number` without one, the word
            before a grade (`type`, `stage`), `age` or `year` (of a calendar).
        unit: in pint's words; empty without one.
        low: least value, in SI base units; minus infinity for "less than".
        high: greatest value; infinity for "more than".
        context: content words around it.
        values: where its numbers stand.
        unit_span: where its unit stands; None without one.
        limit_span: where "less than" or its like stands; None without one.
        span: where all of it stands, its unit and its period included.
    """

    dimension: str
    unit: str
    low: float
    high: float
    context: frozenset[str]
    values: tuple[Span, ...]
    unit_span: Span | None = None
    limit_span: Span | None = None
    span: Span = _NOWHERE


def quantities(text: str) -> list[Quantity]:
    """Return the quantities of a text in order, up to `MOST`."""
    found: list[Quantity] = []
    for quantity in _Reader(text).read():
        found.append(quantity)
        if len(found) == MOST:
            break
    return found


class _Reader(NumberReader):
    """Reads one text from left to right, token by token."""

    def read(self) -> Iterator[Quantity]:
        """Yield each quantity."""
        place = 0
        while place < len(self.tokens):
            read = None
            if self.matches[place]["number"] or self.lower[place] in _TRIGGERS:
                read = self._frequency(place) or self._share(place) or self._grade(place)
                read = read or self._measure(place)
            if read is None:
                place += 1
                continue
            behind = max(read[1], place + 1)
            span = self.span(place, behind)
            yield from (replace(quantity, span=span) for quantity in read[0])
            place = behind

    def _frequency(self, place: int) -> tuple[list[Quantity], int] | None:
        """Read "twice a day", "every 6 to 8 hours" or "t.i.d."."""
        word = self.lower[place]
        if word == "every":
            return self._every(place)
        code, behind = self._code(place)
        if code is not None:
            return [self._per(code, code, "day", (self.span(place, behind),))], behind
        first = last = self.value(place, words=True)
        if word in TIMES:
            first = last = Value(TIMES[word], self.span(place, place + 1), place + 1)
        elif first is not None:
            if self.at(first.place) in _JOINS:
                last = self.value(first.place + 1, words=True) or first
            if self.at(last.place if last else 0) not in ("times", "time", "x"):
                return None
            last = replace(last, place=last.place + 1) if last else None
        if first is None or last is None:
            return None
        period = self.period(last.place)
        if period is None:
            return None
        return [self._per(first.number, last.number, period[0], _spans(first, last))], period[1]

    def _every(self, place: int) -> tuple[list[Quantity], int] | None:
        if self.at(place + 1) == "other":
            first = last = Value(2.0, self.span(place + 1, place + 2), place + 2)
        else:
            value = self.value(place + 1, words=True)
            if value is None:
                return None
            first = last = value
            if self.at(value.place) in _JOINS:
                last = self.value(value.place + 1, words=True) or value
        unit = unit_at(self.lower, last.place)
        if unit is None or scale(unit[0]).dimension != "[time]" or not first.number * last.number:
            return None
        return [self._per(1 / last.number, 1 / first.number, unit[0], _spans(first, last))], unit[1]

    def _code(self, place: int) -> tuple[float | None, int]:
        word = self.lower[place]
        if word in _CODES and word != "bid":
            return _CODES[word], place + 1
        letters = self.lower[place : place + 5 : 2]
        dotted = self.lower[place + 1 : place + 4 : 2] == [".", "."]
        if dotted and "".join(letters) in _CODES:
            return _CODES["".join(letters)], place + 5
        return None, place

    def _share(self, place: int) -> tuple[list[Quantity], int] | None:
        """Read "1 in 10,000", "44 to 57 per 100,000" or "5 cases per million"."""
        start, part = place, self._values(place, words=True)
        if part is None or self.inside_word(place):
            return None
        place = part[1].place
        counted = unit_at(self.lower, place)
        if counted is not None and counted[0] == "person" and self.at(counted[1]) == "per":
            place = counted[1]
        joint = self.at(place)
        if joint == "out" and self.at(place + 1) == "of":
            place += 1
        elif joint not in ("in", "per"):
            return None
        place += 2 if self.at(place + 1) == "every" else 1
        total = self._total(place)
        if total is None or total[0].number < max(part[1].number, 2):
            return None
        if joint == "in" and _YEAR.fullmatch(self.text[total[0].span.start : total[1].span.end]):
            return None
        behind = total[1].place
        unit = unit_at(self.lower, behind)
        if unit is not None and unit[0] != "person":
            return None
        low, high = part[0].number / total[1].number, part[1].number / total[0].number
        limit = self._limit(self.matches[start].start())
        share = self._quantity("share", low, high, _spans(*part, *total))
        return [self._limited(share, limit)], behind

    def _total(self, place: int) -> tuple[Value, Value] | None:
        """Read what a share is of, such as "10,000", "5,000 to 10,000" or "a million"."""
        if self.at(place) in ("a", "one") and self.at(place + 1) in MULTIPLES:
            place += 1
        if self.at(place) in MULTIPLES:
            value = Value(MULTIPLES[self.at(place)], self.span(place, place + 1), place + 1)
            return value, value
        if (digits := self._values(place)) is not None:
            return digits
        worded = self._values(place, words=True)
        # "One in five people", but not "one in five weeks".
        counted = unit_at(self.lower, worded[1].place) if worded else None
        return worded if counted is not None and counted[0] == "person" else None

    def _values(self, place: int, *, words: bool = False) -> tuple[Value, Value] | None:
        """Read a number or a range of numbers; a number is a range with one end."""
        first = self.value(place, words=words)
        if first is None:
            return None
        last = None
        if self.at(first.place) in _JOINS:
            last = self.value(first.place + 1, words=words)
        return (first, last) if last is not None and last.number > first.number else (first, first)

    def _grade(self, place: int) -> tuple[list[Quantity], int] | None:
        """Read "type 2" or "stage IV"."""
        label = self.lower[place]
        if label not in _LABELS:
            return None
        behind = place + 1 + (self.at(place + 1) in ("of", "is"))
        roman = self.at(behind) in _ROMAN
        if roman:
            number = float(_ROMAN[self.at(behind)])
            first = last = Value(number, self.span(behind, behind + 1), behind + 1)
        else:
            value = self.value(behind)
            if value is None:
                return None
            first = last = value
            if self.at(value.place) in _JOINS and (high := self.value(value.place + 1)):
                last = high if high.number > value.number else value
        return [self._quantity(label, first.number, last.number, _spans(first, last))], last.place

    def _measure(self, place: int) -> tuple[list[Quantity], int] | None:
        """Read a number with its limit, the end of its range, its unit and its period."""
        if self.inside_word(place):
            return None
        digits = self.matches[place]["number"] is not None
        first = last = self.value(place, words=True)
        if first is None or last is None:
            return None
        unit = self.unit(first.place)
        if unit is None and self.at(first.place) == "+" and self.unit(first.place + 1):
            last = replace(first, place=first.place + 1)  # "3+ years"
            unit = self.unit(last.place)
        behind = last.place if unit is None else unit.place
        if self.at(behind) in _JOINS and (high := self.value(behind + 1, words=not digits)):
            high_unit = self.unit(high.place)
            fits = high_unit is not None and (unit is None or unit.name == high_unit.name)
            joins = _DASHES | (
                {"to", "and"} if "between" in self.lower[max(place - 4, 0) : place] else {"to"}
            )
            bare = unit is None and high_unit is None and self.at(behind) in joins
            if high.number > first.number and (fits or bare) and not self.glued(high):
                last, unit = high, high_unit
        elif self.at(behind) == "/" and unit is None and (low := self.value(behind + 1)):
            # A blood pressure is two quantities of one unit.
            shared = self.unit(low.place)
            if shared is not None and shared.name == "mmHg":
                both = [
                    self._scaled(shared.name, value, value, None, shared.span)
                    for value in (first, low)
                ]
                return both, shared.place
        if unit is None and (not digits or self.glued(last)):
            return None
        return self._with_unit(first, last, unit)

    def _with_unit(
        self, first: Value, last: Value, unit: UnitMention | None
    ) -> tuple[list[Quantity], int]:
        name, period, behind, span = "", None, last.place, None
        if unit is not None:
            name, period, behind, span = unit.name, unit.period, unit.place, unit.span
        limit = self._limit(first.span.start)
        quantity = self._scaled(name, first, last, limit, span)
        end = self.matches[behind - 1].end()
        quantity = self._dated(quantity, end)
        if limit is None:
            tail = _TAIL.match(self.text, end) or _TAIL.match(self.text, last.span.end)
            quantity = self._limited(quantity, tail)
            while tail and behind < len(self.matches) and self.matches[behind].end() <= tail.end():
                behind += 1
        read = [quantity]
        if period is None and (after := self.period(behind)):
            period, behind = after
        if period is not None and quantity.dimension != "share":
            read.append(self._per(1.0, 1.0, period, ()))
        return read, behind

    def _scaled(
        self,
        unit: str,
        first: Value,
        last: Value,
        limit: re.Match[str] | None,
        unit_span: Span | None,
    ) -> Quantity:
        dimension, factor, offset = "number", 1.0, 0.0
        if unit:
            scaled = scale(unit)
            dimension, factor, offset = scaled.dimension, scaled.factor, scaled.offset
            if dimension == "dimensionless":
                # A dose by body weight has no dimension either, and is no share.
                dimension = "share" if unit == "percent" else "ratio"
        low, high = (value.number * factor + offset for value in (first, last))
        quantity = self._limited(self._quantity(dimension, low, high, _spans(first, last)), limit)
        return replace(quantity, unit=unit, unit_span=unit_span)

    def _dated(self, quantity: Quantity, end: int) -> Quantity:
        """Return an age or a year of the calendar as what it is; any other quantity unchanged.

        Args:
            quantity: as its unit says.
            end: place behind its unit.
        """
        start = quantity.values[0].start
        if quantity.dimension not in ("number", "[time]"):
            return quantity
        text, before = self.text, max(start - _LONGEST_LIMIT, 0)
        if _AGE_BEFORE.search(text, before, start) or _AGE_AFTER.match(text, end):
            factor = 1.0 if quantity.unit else scale("year").factor
            low, high = quantity.low * factor, quantity.high * factor
            unit, context = quantity.unit or "year", quantity.context - _AGE_WORDS
            quantity = replace(quantity, unit=unit, low=low, high=high, context=context)
            return replace(quantity, dimension="age")
        year = not quantity.unit and _YEAR.fullmatch(text, start, quantity.values[-1].end)
        if year and _YEAR_BEFORE.search(text, before, start):
            return replace(quantity, dimension="year")
        return quantity

    def _limit(self, start: int) -> re.Match[str] | None:
        """Return "less than" or its like before a character."""
        return _LIMIT.search(self.text, max(start - _LONGEST_LIMIT, 0), start)

    def _limited(self, quantity: Quantity, limit: re.Match[str] | None) -> Quantity:
        if limit is None:
            return quantity
        low, high = (-inf, quantity.high) if limit["below"] else (quantity.low, inf)
        return replace(quantity, low=low, high=high, limit_span=Span(*limit.span()))

    def _per(self, low: float, high: float, period: str, spans: tuple[Span, ...]) -> Quantity:
        """Return a frequency: times per period."""
        factor = 1 / scale(period).factor
        near = spans or (_NOWHERE,)
        quantity = self._quantity("frequency", low * factor, high * factor, near)
        return replace(quantity, values=spans, unit=f"1 / {period}")

    def _quantity(
        self, dimension: str, low: float, high: float, spans: tuple[Span, ...]
    ) -> Quantity:
        start, end = spans[0].start, spans[-1].end
        before = re.split(r"[.;!?]\s", self.text[max(start - _CONTEXT, 0) : start])[-1]
        after = re.split(r"[.;!?](?:\s|$)", self.text[end : end + _CONTEXT])[0]
        context = (content_words(before) | content_words(after)) - UNIT_WORDS
        return Quantity(dimension, "", low, high, context, spans)


def _spans(*values: Value) -> tuple[Span, ...]:
    """Return where values stand, each place once."""
    return tuple(dict.fromkeys(value.span for value in values))
