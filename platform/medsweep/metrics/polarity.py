"""What a text affirms and what it denies, sentence by sentence.

Negation follows NegEx (Chapman et al. 2001) and ConText (Harkema et al. 2009): a cue negates the
words behind it up to the end of the sentence or a word that ends its scope, some cues negate the
words before them, and some phrases only look like a negation. English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from medsweep.metrics.sentences import sentence_spans

MOST = 200
"""Most sentences that are read from one text; the rest is ignored."""

_WORD = re.compile(r"[^\W\d_]{2,}(?:['\u2019]t\b)?")
_NOT = ("n't", "n\N{RIGHT SINGLE QUOTATION MARK}t")

_PSEUDO = (
    r"not\sonly|not\snecessarily|not\scertain|no\sincrease|no\schange|no\sfurther|without\sfurther"
    r"|gram[\s-]negative|no\slonger\sthan|not?\s(?:more|less|fewer)\sthan|whether\sor\snot|if\snot"
)
_BEFORE = (
    r"no|not|never|none|without|cannot|neither|nor|den(?:y|ies|ied)|absence\sof|lack\sof|lacks"
    r"|free\sof|negative\sfor|fail(?:s|ed)?\sto|\w{2,8}n['\u2019]t|rule[sd]?\sout|avoid"
)
_AFTER = (
    r"(?:is|are|was|were|has\sbeen|have\sbeen)\s(?:absent|ruled\sout|unlikely|negative|excluded"
    r"|contraindicated)"
)
_STOP = (
    r"but|however|nevertheless|although|though|yet|except|apart\sfrom|aside\sfrom|unless|because"
    r"|which|instead"
)
_CUE = re.compile(
    rf"\b(?:(?P<pseudo>{_PSEUDO})|(?P<after>{_AFTER})|(?P<before>{_BEFORE})|(?P<stop>{_STOP}))\b"
    r"|(?P<mark>[;:(),])",
    re.IGNORECASE,
)


def word_set(text: str) -> frozenset[str]:
    """Return the words of a list that white space separates."""
    return frozenset(text.split())


# Every cue has one of these words; most sentences have none.
_CUE_WORDS = word_set(
    """
    no not never none without cannot neither nor deny denies denied absence lack lacks free
    negative fail fails failed rule ruled rules avoid absent unlikely excluded contraindicated
    """
)

FUNCTION_WORDS = word_set(
    """
    a an the and or of to in on at by for with from as is are was were be been being it its
    this that these those they them their he she his her him you your we our us my me there
    here who whom whose what when where why how if then than so such also can could may might
    must shall should will would do does did have has had having no not nor never none neither
    without cannot into about over under up down out between during through per each every any
    some all most many more less few other another same own only very often usually sometimes
    both either too just but however although though yet except because which while until
    since after before
    """
)

OPPOSITES = tuple(
    re.findall(
        r"(\w+)/(\w+)",
        """
    left/right dominant/recessive adult/child adults/children increase/decrease
    increases/decreases increased/decreased high/low higher/lower raises/lowers upper/lower
    hypertension/hypotension hyperglycemia/hypoglycemia hyperthyroidism/hypothyroidism
    hyperkalemia/hypokalemia benign/malignant acute/chronic mild/severe common/rare
    safe/unsafe indicated/contraindicated male/female males/females maternal/paternal
    bacterial/viral systolic/diastolic anterior/posterior proximal/distal artery/vein
    arteries/veins internal/external shorter/longer
        """,
    )
)
"""Pairs of words of which one in place of the other turns a medical sentence around."""

_OPPOSITE: dict[str, set[str]] = {}
for _one, _other in OPPOSITES:
    _OPPOSITE.setdefault(_one, set()).add(_other)
    _OPPOSITE.setdefault(_other, set()).add(_one)


@dataclass(frozen=True)
class Sentence:
    """The content words of a sentence.

    Attributes:
        affirmed: those outside the scope of a negation.
        negated: those inside.
        start: place of its first character in the text.
        end: place after its last character.
    """

    affirmed: frozenset[str]
    negated: frozenset[str]
    start: int
    end: int

    @cached_property
    def words(self) -> frozenset[str]:
        """All content words."""
        return self.affirmed | self.negated


def sentences(text: str) -> list[Sentence]:
    """Return the sentences of a text that have content words, up to `MOST`."""
    read = []
    for start, end, words, scopes in _scoped(text):
        affirmed, negated = words - FUNCTION_WORDS, frozenset[str]()
        if _may_negate(words):
            affirmed, negated = _by_scope(text, start, end, scopes)
        if affirmed or negated:
            read.append(Sentence(affirmed, negated, start, end))
            if len(read) == MOST:
                break
    return read


def _words_of(text: str, start: int, end: int) -> frozenset[str]:
    return frozenset([word.lower() for word in _WORD.findall(text, start, end)])


@lru_cache(8)
def _scoped(text: str) -> tuple[tuple[int, int, frozenset[str], list[tuple[int, int]]], ...]:
    """Return the start, the end, the words and the negated spans of each sentence.

    The last texts are remembered: an answer is read for its statements, then for its concepts.
    """
    read = []
    for start, end in sentence_spans(text):
        words = _words_of(text, start, end)
        scopes = negation_scopes(text, start, end) if _may_negate(words) else []
        read.append((start, end, words, scopes))
    return tuple(read)


def _by_scope(
    text: str, start: int, end: int, scopes: Sequence[tuple[int, int]]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the content words of a sentence outside and inside of its negations."""
    affirmed: set[str] = set()
    negated: set[str] = set()
    for match in _WORD.finditer(text, start, end):
        word = match.group().lower()
        if word not in FUNCTION_WORDS and not word.endswith(_NOT):
            inside = any(low <= match.start() < high for low, high in scopes)
            (negated if inside else affirmed).add(word)
    return frozenset(affirmed), frozenset(negated)


def negation_scopes(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the spans of a sentence that are negated.

    Args:
        text: which holds the sentence.
        start: place of its first character.
        end: place after its last character.
    """
    scopes: list[tuple[int, int]] = []
    opened: int | None = None
    clause = start
    for cue in _CUE.finditer(text, start, end):
        if cue["before"] and opened is None:
            opened = cue.end()
        elif cue["after"]:
            scopes.append((clause, cue.start()))
        elif (cue["stop"] or cue["mark"] in (";", ":", "(")) and opened is not None:
            scopes.append((opened, cue.start()))
            opened = None
        if cue["stop"] or cue["mark"]:
            clause = cue.end()
    if opened is not None:
        scopes.append((opened, end))
    return scopes


def negated_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of a text that are negated, sentence by sentence."""
    return [span for *_, scopes in _scoped(text) for span in scopes]


def content_words(text: str) -> frozenset[str]:
    """Return the words of a text that are no function words, in lower case."""
    return _words_of(text, 0, len(text)) - FUNCTION_WORDS


def polarity_clash(reference: Sentence, answer: Sentence) -> bool:
    """Return whether one sentence denies what the other affirms, or turns a word around."""
    if reference.negated & (answer.affirmed - answer.negated - reference.affirmed):
        return True
    if answer.negated & (reference.affirmed - reference.negated - answer.affirmed):
        return True
    gone, new = reference.words - answer.words, answer.words - reference.words
    return any(new & _OPPOSITE[word] for word in gone if word in _OPPOSITE)


def _may_negate(words: frozenset[str]) -> bool:
    return not _CUE_WORDS.isdisjoint(words) or any(word.endswith(_NOT) for word in words)
