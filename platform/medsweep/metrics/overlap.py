"""Overlap of two sequences of tokens: shared n-grams and the longest common subsequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def shared_ngrams(first: Sequence[str], second: Sequence[str], longest: int) -> tuple[int, ...]:
    """Return the number of n-grams that two texts share, for each n from 1 to `longest`.

    An n-gram that occurs m times in one text and k times in the other counts min(m, k) times. It
    can only be shared if its first and its last n - 1 tokens are. So each length considers only the
    shared n-grams of the length before, and numbers an n-gram by the numbers of those two.

    Args:
        first: tokens of one text.
        second: tokens of the other.
        longest: greatest n.
    """
    both = [*first, *second]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(both))}
    unigrams = np.array(list(map(numbers.__getitem__, both)), dtype=np.int64)
    shared, grams = _count_shared(unigrams, len(first))
    counts = [shared]
    place = np.arange(len(both))
    for _ in range(1, longest):
        # Adjacent, and in the same text.
        follows = (grams[:-1] >= 0) & (grams[1:] >= 0) & (np.diff(place) == 1)
        follows &= place[1:] != len(first)
        kept = np.flatnonzero(follows)
        pairs = grams[kept] * len(both) + grams[kept + 1]
        place = place[kept]
        _, number = np.unique(pairs, return_inverse=True)
        shared, grams = _count_shared(number, int(np.searchsorted(place, len(first))))
        counts.append(shared)
    return tuple(counts)


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    A row of the dynamic programming table is one integer with one bit per token of `first`; a bit
    is 0 where the length grows by one. Each token of `second` turns a row into the next with a few
    integer operations (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
    """
    known = set(second)
    places: dict[str, int] = {}
    bit = 1
    for token in first:
        if token in known:  # other tokens cannot be part of a common subsequence
            places[token] = places.get(token, 0) | bit
            bit <<= 1
    all_bits = bit - 1
    row = all_bits
    for token in second:
        if token in places:
            matches = row & places[token]
            row = (row + matches | row - matches) & all_bits
    return all_bits.bit_count() - row.bit_count()


def f_measure(common: int, first: int, second: int) -> float:
    """Return the harmonic mean of `common / first` and `common / second`; 0 if `common` is 0."""
    return 2 * common / (first + second) if common else 0.0


def _count_shared(number: Ids, length: int) -> tuple[int, Ids]:
    """Return the number of shared n-grams, and `number` with -1 for those that are not shared.

    Args:
        number: number of each n-gram of both texts, one text after the other.
        length: number of n-grams in the first text.
    """
    kinds = int(number.max(initial=-1)) + 1
    least = np.minimum(
        np.bincount(number[:length], minlength=kinds), np.bincount(number[length:], minlength=kinds)
    )
    return int(least.sum()), np.where(least[number] > 0, number, -1)
