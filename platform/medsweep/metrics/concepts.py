"""Which concepts of a lexicon a text affirms, and which it negates."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

from medsweep.metrics.polarity import negated_spans

MOST_WORDS = 8
"""Longest term, in words; longer names of a classification occur in no prose."""

FEWEST_LETTERS = 4
"""Shortest term: abbreviations mean several things."""

_TOKEN = re.compile(r"[^\W_]+")

Concept = tuple[str, bool]
"""Identifier of a concept, and whether it is negated."""


class Lexicon:
    """Terms with their concepts, searched all at once (Aho & Corasick 1975), the longest first.

    Args:
        terms: concept and term; the first concept of a term counts. Terms are compared by their
            words, in lower case and without the s of the plural.
    """

    def __init__(self, terms: Iterable[tuple[str, str]]) -> None:
        self._concepts: dict[str, str] = {}
        for concept, term in terms:
            words = [_folded(word) for word in _TOKEN.findall(term.lower())]
            if 0 < len(words) <= MOST_WORDS and sum(map(len, words)) >= FEWEST_LETTERS:
                self._concepts.setdefault(_joined(words), concept)

    def __len__(self) -> int:
        """Return the number of terms."""
        return len(self._concepts)

    @cached_property
    def sha256(self) -> str:
        """Hash of all terms and concepts."""
        digest = hashlib.sha256()
        for term, concept in sorted(self._concepts.items()):
            digest.update(f"{term}\0{concept}\n".encode())
        return digest.hexdigest()

    @cached_property
    def _automaton(self) -> Any:
        import ahocorasick

        automaton = ahocorasick.Automaton()
        for term, concept in self._concepts.items():
            automaton.add_word(term, (concept, len(term)))
        automaton.make_automaton()
        return automaton

    def concepts(self, text: str) -> frozenset[Concept]:
        """Return the concepts of a text, each affirmed, negated or both.

        Where terms overlap, the first and of these the longest counts.

        Args:
            text: English prose; negation is that of `metrics.polarity`.
        """
        words = list(map(_folded_token, _TOKEN.findall(text)))
        if not words or not self._concepts:
            return frozenset()
        # Not `iter_long`, which misses terms that begin inside one that it gave up (2.3.1).
        matches = sorted(
            (end - size + 1, -size, concept)
            for end, (concept, size) in self._automaton.iter(_joined(words))
        )
        if not matches:
            return frozenset()
        found, behind = [], 0
        for start, size, concept in matches:
            if start >= behind:
                found.append((start, concept))
                behind = start - size
        scopes = negated_spans(text)
        if not scopes:
            return frozenset((concept, False) for _, concept in found)
        lengths = accumulate((len(word) + 2 for word in words), initial=0)
        places = dict(
            zip(lengths, (match.start() for match in _TOKEN.finditer(text)), strict=False)
        )
        return frozenset(
            (concept, any(low <= places[start] < high for low, high in scopes))
            for start, concept in found
        )


def concept_f1(answer: frozenset[Concept], reference: frozenset[Concept]) -> float | None:
    """Return the F1 over distinct concepts; None if the reference has none.

    A concept that one text affirms and the other negates is no match.
    """
    if not reference:
        return None
    return 2 * len(answer & reference) / (len(answer) + len(reference))


def _joined(words: Iterable[str]) -> str:
    """Return words with a space on both sides of each, so that terms never share one."""
    return "".join(f" {word} " for word in words)


@lru_cache(1 << 14)
def _folded_token(token: str) -> str:
    return _folded(token.lower())


def _folded(word: str) -> str:
    plural = len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word
