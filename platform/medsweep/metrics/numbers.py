"""Numbers and units in a text, read token by token."""

from __future__ import annotations

from dataclasses import dataclass

from medsweep.metrics.units import PERIODS, TOKEN, scale, unit_at

NUMBER_WORDS = {
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "four": 4.0,
    "five": 5.0,
    "six": 6.0,
    "seven": 7.0,
    "eight": 8.0,
    "nine": 9.0,
    "ten": 10.0,
    "eleven": 11.0,
    "twelve": 12.0,
    "fifteen": 15.0,
    "twenty": 20.0,
    "thirty": 30.0,
    "forty": 40.0,
    "fifty": 50.0,
    "sixty": 60.0,
}
MULTIPLES = {
    "hundred": 1e2,
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
}
_FRACTIONS = {"½": 0.5, "¼": 0.25, "¾": 0.75, "⅓": 1 / 3, "⅔": 2 / 3}
_EACH = frozenset({"a", "an", "per", "each", "every", "/"})
_ADVERBS = {
    "daily": "day",
    "nightly": "day",
    "weekly": "week",
    "monthly": "month",
    "yearly": "year",
    "annually": "year",
    "hourly": "hour",
}
_MINUS = frozenset({"-", "\N{MINUS SIGN}"})


@dataclass(frozen=True)
class Span:
    """Where something stands in a text: from `start` to before `end`."""

    start: int
    end: int


@dataclass(frozen=True)
class Value:
    """A number in a text.

    Attributes:
        number: its value.
        span: where it stands.
        place: place of the token behind it.
    """

    number: float
    span: Span
    place: int


@dataclass(frozen=True)
class UnitMention:
    """A unit in a text.

    Attributes:
        name: in pint's words.
        period: day, week, month or year if it is per that, else None.
        span: where it stands.
        place: place of the token behind it.
    """

    name: str
    period: str | None
    span: Span
    place: int


class NumberReader:
    """The tokens of a text, and the numbers and units at each of them.

    Args:
        text: what is read.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matches = list(TOKEN.finditer(text))
        self.tokens = [match.group() for match in self.matches]
        self.lower = [word.lower() for word in self.tokens]

    def unit(self, place: int) -> UnitMention | None:
        """Return the unit at a token, or behind a hyphen; None if there is none."""
        hyphen = self.at(place) == "-" and self._adjacent(place)
        if hyphen and self.tokens[place + 1] == "D":
            return None  # "3-D" is no duration.
        place += hyphen
        unit = unit_at(self.tokens, place)
        if unit is None:
            return None
        name, behind = unit
        parts, period = [name], None
        while self.at(behind) in ("/", "per") and (next_ := unit_at(self.tokens, behind + 1)):
            if next_[0] in PERIODS:
                period = next_[0]
            else:
                parts.append(next_[0])
            behind = next_[1]
        return UnitMention(" / ".join(parts), period, self.span(place, behind), behind)

    def period(self, place: int) -> tuple[str, int] | None:
        """Return the period of "a day", "/week" or "daily", and the place behind it."""
        word = self.at(place)
        if word in _ADVERBS:
            return _ADVERBS[word], place + 1
        if word in _EACH:
            if self.at(place + 1) == "night":
                return "day", place + 2
            unit = unit_at(self.lower, place + 1)
            if unit is not None and scale(unit[0]).dimension == "[time]":
                return unit
        return None

    def value(self, place: int, *, words: bool = False) -> Value | None:
        """Return the number at a token: digits with a fraction or a power of ten, or a word.

        Either may be followed by a multiple, as in "1.5 million".
        """
        word = self.at(place)
        if not word:
            return None
        if words and word in NUMBER_WORDS:
            number, behind = self._multiplied(NUMBER_WORDS[word], place + 1)
            return Value(number, self.span(place, behind), behind)
        if self.matches[place]["number"] is None:
            return None
        number, behind = _number(word), place + 1
        if self.at(behind) in _FRACTIONS:
            number, behind = number + _FRACTIONS[self.at(behind)], behind + 1
        elif (half := self._fraction(place)) is not None:
            number, behind = half, place + 3
        elif (half := self._fraction(behind)) is not None and not self._adjacent(behind - 1):
            number, behind = number + half, behind + 3
        power = self.lower[behind : behind + 3]
        if power[:1] in (["x"], ["\N{MULTIPLICATION SIGN}"]) and power[1:] == ["10", "^"]:
            exponent = self.at(behind + 3)
            if exponent.isdecimal() and len(exponent) < 3:
                number, behind = number * 10.0 ** int(exponent), behind + 4
        number, behind = self._multiplied(number, behind)
        start = place
        if place and self.tokens[place - 1] in _MINUS and self._is_sign(place - 1):
            number, start = -number, place - 1
        return Value(number, self.span(start, behind), behind)

    def _multiplied(self, number: float, behind: int) -> tuple[float, int]:
        """Return a number times the multiple behind it, and the place behind that."""
        factor = MULTIPLES.get(self.at(behind))
        return (number, behind) if factor is None else (number * factor, behind + 1)

    def _fraction(self, place: int) -> float | None:
        part = self.lower[place : place + 3]
        if len(part) < 3 or part[1] != "/" or not (part[0] + part[2]).isdecimal():
            return None
        if len(part[0]) > 1 or len(part[2]) > 1 or int(part[0]) >= int(part[2]):
            return None
        return int(part[0]) / int(part[2])

    def _is_sign(self, place: int) -> bool:
        """Return whether a minus is a sign: nothing adjacent before it, a number behind it."""
        alone = place == 0 or self.matches[place - 1].end() < self.matches[place].start()
        return (alone or self.tokens[place - 1] == "(") and self._adjacent(place)

    def inside_word(self, place: int) -> bool:
        """Return whether a number is part of a word, as in "B12" and "COVID-19"."""
        if self.matches[place]["number"] is None or place == 0:
            return False
        before = self.matches[place - 1]
        if before.end() < self.matches[place].start():
            return False
        word = before.group()
        if word[-1].isalpha() or word in "$/." or word == "_":
            return True
        hyphen = word in _MINUS and place > 1
        return hyphen and self._adjacent(place - 2) and self.tokens[place - 2][-1].isalnum()

    def glued(self, value: Value) -> bool:
        """Return whether a letter or a hyphen with more digits follows at once, as in "21st"."""
        if value.place >= len(self.matches):
            return False
        if self.matches[value.place].start() > value.span.end:
            return False
        word = self.tokens[value.place]
        more = self.at(value.place + 1)
        return word[0].isalpha() or (word in "-/" and more[:1].isdecimal())

    def _adjacent(self, place: int) -> bool:
        """Return whether the next word follows without white space."""
        return (
            0 <= place < len(self.matches) - 1
            and self.matches[place].end() == self.matches[place + 1].start()
        )

    def at(self, place: int) -> str:
        """Return a token in lower case; empty beyond the end."""
        return self.lower[place] if place < len(self.lower) else ""

    def span(self, start: int, stop: int) -> Span:
        """Return the span of the tokens from one place to before another."""
        stop = min(stop, len(self.matches))
        return Span(self.matches[start].start(), self.matches[stop - 1].end())


def _number(word: str) -> float:
    return _FRACTIONS.get(word) or float(word.replace(",", ""))
