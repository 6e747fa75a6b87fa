import random
from collections import Counter

import pytest

from medsweep.metrics.overlap import common_subsequence, f_measure, shared_ngrams


def slow_ngrams(tokens: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def slow_subsequence(one: list[str], two: list[str]) -> int:
    table = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for i, first in enumerate(one):
        for j, second in enumerate(two):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = table[i][j] + 1 if first == second else longest
    return table[-1][-1]


@pytest.mark.parametrize("alphabet", [1, 2, 5, 40])
def test_counts_equal_the_plain_way(alphabet: int) -> None:
    rng = random.Random(alphabet)
    for _ in range(60):
        one, two = [
            [str(rng.randrange(alphabet)) for _ in range(rng.randrange(90))] for _ in range(2)
        ]
        expected = tuple((slow_ngrams(one, n) & slow_ngrams(two, n)).total() for n in range(1, 6))
        assert shared_ngrams(one, two, 5) == expected
        assert common_subsequence(one, two) == slow_subsequence(one, two)


def test_f_measure() -> None:
    assert f_measure(1, 2, 4) == pytest.approx(2 * (1 / 2) * (1 / 4) / (1 / 2 + 1 / 4))
    assert f_measure(0, 0, 0) == 0.0
    assert f_measure(0, -1, 0) == 0.0
