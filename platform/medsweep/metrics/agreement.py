"""Whether an answer agrees with its reference in quantities, comparisons and negations.

Word overlap sees none of the three: 1.5 mg and 15 mg, "less than" and "more than", "safe" and "not
safe" share nearly all of their words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from math import isclose, isinf

from medsweep.metrics.attributes import turned_attributes
from medsweep.metrics.conflicts import Subjects
from medsweep.metrics.polarity import Sentence, polarity_clash, sentences
from medsweep.metrics.quantities import NAMES, Quantity, quantities

_SAME = 1e-9
_CONVERTED = 0.01
"""Values in different units are equal within this share: 100 lb are given as 45 kg."""

_KELVIN = 0.06
"""Temperatures in different units are equal within this: a tenth of a degree Fahrenheit."""

_ALIGNED = 0.6
"""Least share of content words (Dice) of two sentences that say the same, or its opposite."""

_SHARED = 0.5
"""Least share of the words around one of two quantities that the other must have too.

With one word in common, over half of the contradictions between right answers were false.
"""

_LIMITS = frozenset({"below", "above"})
"""Kinds of a quantity that is open on one side."""

_AGES = frozenset({"age", "[time]"})
"""Dimensions of which one value may be the same: "over 65 years" and "65 years or older"."""

_LEAST_WORDS = 3
"""Fewest content words of a sentence that is compared."""


@dataclass(frozen=True)
class Agreement:
    """What an answer makes of its reference's quantities and statements.

    Attributes:
        agree: quantities of the reference that the answer gives, and no other value in their place.
        contradict: those of which it gives another value, alone or beside the right one, and those
            that it denies.
        missing: those that it does not give.
        added: quantities of the answer that the reference does not give.
        denied: sentences of the reference that the answer denies, or of which it turns a word into
            its opposite.
    """

    agree: int = 0
    contradict: int = 0
    missing: int = 0
    added: int = 0
    denied: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def share(self) -> float | None:
        """Share of the reference's quantities that the answer gives; None if it has none."""
        total = self.agree + self.contradict + self.missing
        return self.agree / total if total else None

    @property
    def columns(self) -> dict[str, int]:
        """The counts by the names of their columns."""
        return {
            "quantities_agree": self.agree,
            "quantities_contradict": self.contradict,
            "quantities_missing": self.missing,
            "quantities_added": self.added,
            "statements_denied": self.denied,
        }

    @property
    def consistent(self) -> bool:
        """Whether the answer contradicts its reference in nothing."""
        return not self.contradict and not self.denied


def agreement(answer: str, reference: str) -> Agreement:
    """Compare an answer with its reference.

    Args:
        answer: generated text.
        reference: reference answer.
    """
    mentions, stated = quantities(answer), quantities(reference)
    given, expected = _distinct(mentions), _distinct(stated)
    total = len(expected)
    right = _pair(given, expected, _equal)
    # The same value again in another unit is neither wrong nor added.
    given = [each for each in given if not any(_equal(wanted, each) for _, wanted in right)]
    contradict = len(_pair(given, expected, _contradicts))
    if right:
        turned = _turned(right, given, Subjects(answer, mentions), Subjects(reference, stated))
        contradict += turned
        right = right[turned:]
    agree = len(right)
    return Agreement(
        agree=agree,
        contradict=contradict,
        missing=total - agree - contradict,
        added=len(given),
        denied=len(
            _denied(sentences(answer), sentences(reference)) | turned_attributes(answer, reference)
        ),
    )


def _distinct(found: Sequence[Quantity]) -> list[Quantity]:
    """Return each quantity once, with the words around all its mentions."""
    by_value: dict[tuple[str, float, float], Quantity] = {}
    for quantity in found:
        key = quantity.dimension, quantity.low, quantity.high
        known = by_value.get(key)
        if known is not None:
            quantity = replace(known, context=known.context | quantity.context)
        by_value[key] = quantity
    return list(by_value.values())


def _pair(
    given: list[Quantity], expected: list[Quantity], match: Callable[[Quantity, Quantity], bool]
) -> list[tuple[Quantity, Quantity]]:
    """Remove the pairs that match from both lists, and return them: given, expected."""
    pairs = []
    for wanted in tuple(expected):
        matching = [each for each in given if match(wanted, each)]
        if matching:
            best = max(matching, key=lambda each: _nearness(wanted, each))
            given.remove(best)
            expected.remove(wanted)
            pairs.append((best, wanted))
    return pairs


def _nearness(wanted: Quantity, given: Quantity) -> tuple[bool, int, bool]:
    same = wanted.dimension == given.dimension
    return same, len(wanted.context & given.context), wanted.unit == given.unit


def _turned(
    right: Sequence[tuple[Quantity, Quantity]],
    given: list[Quantity],
    answer: Subjects,
    reference: Subjects,
) -> int:
    """Return how many quantities are denied or have a wrong one in their place too.

    The wrong ones are removed from those given.
    """
    count = 0
    for known, wanted in right:
        denied = answer.denies(known) and not reference.negates(wanted)
        rivals = [each for each in given if _rivals(known, each)]
        expected = reference.marks(wanted) if rivals else frozenset[str]()
        conflicts = (each for each in rivals if denied or answer.conflict(known, each, expected))
        wrong = next(conflicts, None)
        if wrong is not None:
            given.remove(wrong)
        count += denied or wrong is not None
    return count


def _rivals(first: Quantity, second: Quantity) -> bool:
    """Return whether two quantities of an answer could be given in place of each other."""
    if first.dimension != second.dimension or first.dimension in NAMES:
        return False
    if first.span == second.span:
        return False
    kinds = {_kind(first), _kind(second)}
    if kinds & _LIMITS:
        return len(kinds) == 1
    return not _nested(first, second)


def _equal(first: Quantity, second: Quantity) -> bool:
    if first.dimension != second.dimension and {first.dimension, second.dimension} != _AGES:
        return False
    relative, absolute = _SAME, 0.0
    if first.unit != second.unit:
        if first.dimension == "[temperature]":
            absolute = _KELVIN
        else:
            relative = _CONVERTED
    return all(
        one == other or isclose(one, other, rel_tol=relative, abs_tol=absolute)
        for one, other in ((first.low, second.low), (first.high, second.high))
    )


def _contradicts(first: Quantity, second: Quantity) -> bool:
    """Return whether two quantities speak of one thing and cannot both be right.

    A value inside the other's range is neither equal nor a contradiction. An age and a time are
    compared only if the time is a limit in years: "over 65 years" is an age, "for 65 years" is not.
    """
    if first.dimension != second.dimension and not _is_age_limit(first, second):
        return False
    fewest = min(len(first.context), len(second.context))
    if len(first.context & second.context) < _SHARED * fewest:
        return False
    kinds = {_kind(first), _kind(second)}
    return len(kinds) == 1 or kinds == _LIMITS or not _nested(first, second)


def _is_age_limit(first: Quantity, second: Quantity) -> bool:
    """Return whether one quantity is an age and the other a limit in years that may be one."""
    return {first.dimension, second.dimension} == _AGES and any(
        each.dimension == "[time]" and each.unit == "year" and _kind(each) in _LIMITS
        for each in (first, second)
    )


def _nested(first: Quantity, second: Quantity) -> bool:
    """Return whether one of two quantities lies within the other."""
    within = first.low >= second.low and first.high <= second.high
    return within or (first.low <= second.low and first.high >= second.high)


def _kind(quantity: Quantity) -> str:
    if isinf(quantity.low):
        return "below"
    if isinf(quantity.high):
        return "above"
    return "value" if quantity.low == quantity.high else "range"


def _denied(answer: Sequence[Sentence], reference: Sequence[Sentence]) -> set[int]:
    """Return where the reference's sentences begin that the answer's nearest one denies."""
    denied = set()
    long = [each for each in answer if len(each.words) >= _LEAST_WORDS]
    for stated in reference:
        words = stated.words
        if len(words) < _LEAST_WORDS:
            continue
        near = [(_dice(words, each.words), each) for each in long]
        best = max((share for share, _ in near), default=0.0)
        if best >= _ALIGNED and all(
            polarity_clash(stated, each) for share, each in near if share == best
        ):
            denied.add(stated.start)
    return denied


def _dice(first: frozenset[str], second: frozenset[str]) -> float:
    return 2 * len(first & second) / (len(first) + len(second))
