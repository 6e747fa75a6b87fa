"""How much two sequences of tokens have in common: n-grams and longest common subsequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def shared_ngrams(first: Sequence[str], second: Sequence[str], longest: int) -> tuple[int, ...]:
    """Return how many n-grams two texts share, for each n from 1 to `longest`.

    One that a text has m times and the other k times counts min(m, k) times. A run of n tokens can
    only be shared where its first and its last n - 1 tokens are, so from one length to the next
    only those places are looked at, and each run is known by the numbers of these two.

    Args:
        first: tokens.
        second: tokens.
        longest: greatest n.
    """
    both = [*first, *second]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(both))}
    unigrams = np.array(list(map(numbers.__getitem__, both)), dtype=np.int64)
    shared, grams = _count_shared(unigrams, len(first))
    counts = [shared]
    place = np.arange(len(both))
    for _ in range(1, longest):
        # Next to each other, in one and the same text.
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

    A row of the usual table is one whole number with a bit a token of `first`; a bit is 0 where
    the length grows by one, and a token of `second` turns one row into the next with a few
    operations on whole numbers (Hyyrö 2004, "Bit-parallel LCS-length computation revisited").
    """
    known = set(second)
    places: dict[str, int] = {}
    bit = 1
    for token in first:
        if token in known:  # no other can be part of it
            places[token] = places.get(token, 0) | bit
            bit <<= 1
    whole = bit - 1
    row = whole
    for token in second:
        if token in places:
            matches = row & places[token]
            row = (row + matches | row - matches) & whole
    return whole.bit_count() - row.bit_count()


def f_measure(common: int, first: int, second: int) -> float:
    """Return the harmonic mean of `common / first` and `common / second`; 0 without anything."""
    return 2 * common / (first + second) if common else 0.0


def _count_shared(number: Ids, length: int) -> tuple[int, Ids]:
    """Return how many n-grams are shared, and the numbers with -1 for those that are not.

    Args:
        number: of each n-gram of both texts, one text after the other.
        length: how many of them are the first text's.
    """
    kinds = int(number.max(initial=-1)) + 1
    least = np.minimum(
        np.bincount(number[:length], minlength=kinds), np.bincount(number[length:], minlength=kinds)
    )
    return int(least.sum()), np.where(least[number] > 0, number, -1)
