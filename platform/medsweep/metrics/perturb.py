"""Makes reference answers wrong on purpose, or rewrites them without changing what they say.

Every rule is seeded and changes one place (or one word everywhere). It returns None where a text
has nothing to change. English only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medsweep.metrics.quantities import Quantity, quantities
from medsweep.metrics.sentences import sentence_spans


@dataclass(frozen=True)
class Subject:
    """What a text is about.

    Attributes:
        term: the disease or drug that the question asks about; empty if that is not known.
        other: that of another question.
    """

    term: str = ""
    other: str = ""


Rule = Callable[[str, random.Random, Subject], str | None]

# Behind the last of these words, up to the question mark.
_ASKED = re.compile(
    r".*\b(?:of|for|is|are|causes?|about|with|by|on|to|does|do)\s+(?:\(are\)\s|an?\s|the\s)*"
    r"([^?]{3,60}?)\s*(?:\?|$)",
    re.IGNORECASE | re.DOTALL,
)
_CONTRAINDICATION = re.compile(
    r"contraindicat|should not|must not|do not (?:take|use|give)|not be (?:used|taken|given)|avoid"
    r"|not recommended|allergic|warning",
    re.IGNORECASE,
)
_VERB = re.compile(r"\b(?:is|are|can|may|should|will|was|were|must)\b(?!\s+not\b)")
_NEGATION = re.compile(r"\b(?:not(?!\s+only)|never)\s+|\bno\s+(?=[a-z])|(?<=\bcan)not\b|n't\b")
_LIST_END = re.compile(r"(?<=, )([a-z]+),? (and|or) ([a-z]+)(?=[.;])")

_SIDE = re.compile(
    r"\b(left|right)(?=[ -](?:side|sided|lung|ventric|atri|arm|leg|kidney|breast|eye|ear|hand|foot"
    r"|heart|upper|lower|lobe|hemisphere|hip|knee|shoulder|testic|ovar|coronary|half|bundle))",
    re.IGNORECASE,
)

_OTHER_UNIT = {
    "mg": "g",
    "g": "mg",
    "mcg": "mg",
    "µg": "mg",
    "milligrams": "grams",
    "grams": "milligrams",
    "ml": "L",
    "l": "mL",
    "mm": "cm",
    "cm": "mm",
    "kg": "g",
    "inches": "feet",
    "feet": "inches",
    "minutes": "hours",
    "hours": "days",
    "days": "weeks",
    "weeks": "months",
    "months": "years",
    "years": "months",
    "hour": "day",
    "day": "week",
    "week": "month",
    "month": "year",
    "year": "month",
    "mg/dl": "g/dL",
    "pounds": "kilograms",
}
_OTHER_SPELLING = {
    "mg": "milligrams",
    "milligrams": "mg",
    "mcg": "micrograms",
    "g": "grams",
    "ml": "mL",
    "kg": "kilograms",
    "%": " percent",
    "percent": "%",
    "hours": "hrs",
    "minutes": "min",
    "years": "yrs",
    "cm": "centimeters",
    "mm": "millimeters",
    "inches": "inch",
    "weeks": "wks",
    "pounds": "lbs",
    "grams": "g",
    "milliliters": "mL",
}
_TURNED = {
    "less than": "more than",
    "more than": "less than",
    "<": ">",
    ">": "<",
    "≤": "≥",
    "≥": "≤",
    "at least": "at most",
    "at most": "at least",
    "up to": "at least",
    "above": "below",
    "below": "above",
    "over": "under",
    "under": "over",
    "fewer than": "more than",
    "greater than": "less than",
    "higher than": "lower than",
    "lower than": "higher than",
    "older than": "younger than",
    "younger than": "older than",
    "no more than": "no less than",
    "longer than": "shorter than",
    "or more": "or less",
    "or older": "or younger",
    "or younger": "or older",
    "or less": "or more",
}
_SYNONYMS = {
    "heart attack": "myocardial infarction",
    "high blood pressure": "hypertension",
    "kidney failure": "renal failure",
    "doctor": "physician",
    "fever": "pyrexia",
    "itching": "pruritus",
    "hives": "urticaria",
    "nosebleeds": "epistaxis",
    "stroke": "cerebrovascular accident",
    "shortness of breath": "dyspnea",
    "swelling": "edema",
    "bruising": "ecchymosis",
    "tiredness": "fatigue",
    "hair loss": "alopecia",
    "low blood sugar": "hypoglycemia",
    "high blood sugar": "hyperglycemia",
    "nearsightedness": "myopia",
    "chickenpox": "varicella",
    "vomiting": "emesis",
    "blood clot": "thrombus",
    "birth defects": "congenital anomalies",
    "medicine": "medication",
    "medicines": "medications",
    "illness": "disease",
    "begins": "starts",
    "usually": "typically",
    "rarely": "seldom",
    "often": "frequently",
}


def term_of(question: str) -> str:
    """Return the disease or drug that a question asks about; empty if it does not say."""
    asked = _ASKED.match(question)
    return asked[1].strip() if asked else ""


def _replace(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _measured(text: str) -> list[Quantity]:
    """Return the quantities that have a unit and are written in digits."""
    return [
        each
        for each in quantities(text)
        if each.unit_span is not None
        and each.values
        and all(re.fullmatch(r"[\d,.]+", text[v.start : v.end]) for v in each.values)
    ]


def _scaled(factor: float) -> Rule:
    def rule(text: str, rng: random.Random, _: Subject) -> str | None:
        measured = _measured(text)
        if not measured:
            return None
        for value in reversed(rng.choice(measured).values):
            number = float(text[value.start : value.end].replace(",", "")) * factor
            text = _replace(text, value.start, value.end, f"{number:.10g}")
        return text

    return rule


def _unit_in(table: Mapping[str, str]) -> Rule:
    def rule(text: str, rng: random.Random, _: Subject) -> str | None:
        spans = [each.unit_span for each in _measured(text) if each.unit_span is not None]
        known = [span for span in spans if text[span.start : span.end].lower() in table]
        if not known:
            return None
        span = rng.choice(known)
        return _replace(text, span.start, span.end, table[text[span.start : span.end].lower()])

    return rule


def _comparison_turned(text: str, rng: random.Random, _: Subject) -> str | None:
    spans = [each.limit_span for each in quantities(text) if each.limit_span is not None]
    known = [
        (span, phrase)
        for span in spans
        if (phrase := text[span.start : span.end].strip().lower()) in _TURNED
    ]
    if not known:
        return None
    span, phrase = rng.choice(known)
    said = text[span.start : span.end]
    start = span.start + len(said) - len(said.lstrip())
    return _replace(text, start, start + len(phrase), _TURNED[phrase])


def _negation_dropped(text: str, rng: random.Random, _: Subject) -> str | None:
    negations = list(_NEGATION.finditer(text))
    if not negations:
        return None
    chosen = rng.choice(negations)
    return _replace(text, chosen.start(), chosen.end(), "")


def _negation_added(text: str, rng: random.Random, _: Subject) -> str | None:
    verbs = list(_VERB.finditer(text))
    if not verbs:
        return None
    place = rng.choice(verbs).end()
    return _replace(text, place, place, " not")


def _word_in(table: Mapping[str, str]) -> Rule:
    """Return a rule that puts one word in place of another wherever it stands."""
    known = re.compile(rf"\b(?:{'|'.join(sorted(table, key=len)[::-1])})\b", re.IGNORECASE)

    def rule(text: str, rng: random.Random, _: Subject) -> str | None:
        present = sorted({match.group().lower() for match in known.finditer(text)})
        if not present:
            return None
        chosen = rng.choice(present)

        def other(match: re.Match[str]) -> str:
            new = table[chosen]
            return new.capitalize() if match.group()[0].isupper() else new

        return re.sub(rf"\b{chosen}\b", other, text, flags=re.IGNORECASE)

    return rule


def _side_swapped(text: str, rng: random.Random, subject: Subject) -> str | None:
    """Swap left and right where they are sides, not in "the right amount"."""
    sides = list(_SIDE.finditer(text))
    if not sides:
        return None
    side = rng.choice(sides)
    other = "right" if side[1].lower() == "left" else "left"
    other = other.capitalize() if side[1][0].isupper() else other
    return _replace(text, *side.span(1), other)


def _both_ways(*pairs: tuple[str, str]) -> dict[str, str]:
    return {**dict(pairs), **{other: one for one, other in pairs}}


def _term_of_another(text: str, _: random.Random, subject: Subject) -> str | None:
    if not subject.term or not subject.other or subject.term.lower() == subject.other.lower():
        return None
    wrong, count = re.subn(
        re.escape(subject.term), lambda _: subject.other, text, flags=re.IGNORECASE
    )
    return wrong if count else None


def _contraindication_dropped(text: str, rng: random.Random, _: Subject) -> str | None:
    spans = [(start, end) for start, end in sentence_spans(text) if text[start:end].strip()]
    warnings = [span for span in spans if _CONTRAINDICATION.search(text, *span)]
    if not warnings or len(spans) < 2:
        return None
    start, end = rng.choice(warnings)
    return f"{text[:start]}{text[end:].lstrip()}".rstrip()


def _lower_case(text: str, _: random.Random, __: Subject) -> str | None:
    return text.lower() if text.lower() != text else None


def _list_reordered(text: str, rng: random.Random, _: Subject) -> str | None:
    lists = list(_LIST_END.finditer(text))
    if not lists:
        return None
    last = rng.choice(lists)
    return _replace(text, last.start(), last.end(), f"{last[3]}, {last[2]} {last[1]}")


ERRORS: Mapping[str, Rule] = {
    "dose x 10": _scaled(10),
    "dose / 10": _scaled(0.1),
    "unit swapped": _unit_in(_OTHER_UNIT),
    "comparison turned": _comparison_turned,
    "negation added": _negation_added,
    "negation dropped": _negation_dropped,
    "left for right": _side_swapped,
    "dominant for recessive": _word_in(_both_ways(("dominant", "recessive"))),
    "adult for child": _word_in(_both_ways(("adult", "child"), ("adults", "children"))),
    "term of another question": _term_of_another,
    "contraindication dropped": _contraindication_dropped,
}
"""What makes an answer wrong."""

HARMLESS: Mapping[str, Rule] = {
    "lower case": _lower_case,
    "list in other order": _list_reordered,
    "synonym": _word_in(_SYNONYMS),
    "unit spelt out": _unit_in(_OTHER_SPELLING),
}
"""Rewrites that leave an answer as correct as before."""


def perturbed(
    rule: str, texts: Sequence[str], questions: Sequence[str], seed: int
) -> list[tuple[str, str]]:
    """Return each text that a rule applies to, after the rule and before.

    Args:
        rule: one of `ERRORS` or `HARMLESS`.
        texts: reference answers.
        questions: one per text; empty texts if they are not known.
        seed: of the places that are changed.
    """
    apply = {**ERRORS, **HARMLESS}[rule]
    terms = [term_of(question) for question in questions]
    pairs = []
    for place, text in enumerate(texts):
        rng = random.Random(f"{seed} {rule} {place}")  # noqa: S311 no secret
        subject = Subject(terms[place], terms[(place + 1) % len(terms)])
        changed = apply(text, rng, subject)
        if changed is not None and changed != text:
            pairs.append((changed, text))
    return pairs
