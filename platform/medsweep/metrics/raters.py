"""Agreement of raters, and a ranking of what they rated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.resampling import bootstrap_bounds

_ROUNDS, _CLOSE = 1000, 1e-9

_HALF = 0.5
"""Wins that every system starts with against every other."""

_LESS = 0.02
"""The same for the ends of an interval: half a win would pull them to the middle."""


@dataclass(frozen=True)
class Reliability:
    """Krippendorff's alpha: 1 for perfect agreement, 0 for what chance gives.

    Attributes:
        alpha: over all units that two or more raters rated; None without any, or if all ratings
            are equal: then there is no chance agreement to compare with.
        low: lower end of its 95 % interval, by a bootstrap over units and one more on which two
            raters disagree as much as any two ratings do; None in the same case and for one unit.
        high: upper end, by a bootstrap over the units alone; None in the same cases.
        units: number of units that two or more raters rated.
    """

    alpha: float | None
    low: float | None
    high: float | None
    units: int


@dataclass(frozen=True)
class Rank:
    """The place of one system among those that were rated on the same questions.

    Attributes:
        system: its name.
        win_share: probability of being preferred to an average system of this review
            (Bradley and Terry 1952).
        low: lower end of its 95 % interval over questions; 0 if it won nothing, None if it was
            compared on fewer than two.
        high: upper end; 1 if it lost nothing, None in the same case.
        wins: comparisons won; a tie is half of one.
        comparisons: with other systems, on the same question by the same rater.
    """

    system: str
    win_share: float
    low: float | None
    high: float | None
    wins: float
    comparisons: int


def reliability(units: Sequence[Sequence[int]], *, seed: int) -> Reliability:
    """Return Krippendorff's alpha for ordered categories (Krippendorff 2011).

    A sample may have missed units on which raters disagree. The low end is therefore that of a
    sample with one more, as the interval of a mean allows for extreme questions: where all ratings
    agree, a bootstrap over the units alone would be [1, 1], even for two of them.

    Args:
        units: the ratings of each unit, whole numbers from 0; any number of raters each.
        seed: of the bootstrap.
    """
    paired = [list(unit) for unit in units if len(unit) > 1]
    if not paired:
        return Reliability(None, None, None, 0)
    most = 1 + max(max(unit) for unit in paired)
    tables = np.array([_coincidences(unit, most) for unit in paired])
    alpha = _alpha(tables.sum(axis=0))
    if alpha is None or len(paired) < 2:
        return Reliability(alpha, None, None, len(paired))
    extremes = [min(min(unit) for unit in paired), most - 1]
    low, _ = _bounds(np.vstack([tables, _coincidences(extremes, most)[None]]), seed)
    least, high = _bounds(tables, seed)
    return Reliability(alpha, min(low, least), high, len(paired))


def _bounds(tables: NDArray[np.float64], seed: int) -> tuple[float, float]:
    def statistic(rows: NDArray[np.int64]) -> float:
        value = _alpha(tables[rows].sum(axis=0))
        return np.nan if value is None else value

    low, high = bootstrap_bounds(statistic, len(tables), seed=seed)
    return float(low), float(high)


def _coincidences(unit: Sequence[int], most: int) -> NDArray[np.float64]:
    """Return how often each category meets each other one among a unit's pairs of ratings."""
    counts = np.bincount(unit, minlength=most).astype(float)
    pairs = np.outer(counts, counts) - np.diag(counts)
    return np.asarray(pairs / (len(unit) - 1))


def _alpha(table: NDArray[np.float64]) -> float | None:
    totals = table.sum(axis=0)
    count = totals.sum()
    # The distance of two categories: the ratings between them, and half of those in them.
    middle = np.cumsum(totals) - totals / 2
    distance = (middle[:, None] - middle[None, :]) ** 2
    expected = (np.outer(totals, totals) * distance).sum() / (count - 1)
    if expected == 0:
        return None
    return float(1 - (table * distance).sum() / expected)


def ranking(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Rank]:
    """Return the systems in order, compared in pairs on the same question by the same rater.

    Strengths are fitted by Hunter's algorithm (2004). Every pair of systems starts with half a win
    each, so that one that always won has a finite strength.

    Args:
        scores: of each question, one rating per rater: the score of each system that was rated,
            more is better.
    """
    names = sorted({name for ratings in scores.values() for each in ratings for name in each})
    if len(names) < 2:
        return []
    wins = np.array([_wins(ratings, names) for ratings in scores.values()])
    total = wins.sum(axis=0)
    shares = _win_shares(total)
    ranks = [
        Rank(
            name,
            float(shares[place]),
            _end(wins, place, -1),
            _end(wins, place, 1),
            float(total[place].sum()),
            round(float(total[place].sum() + total[:, place].sum())),
        )
        for place, name in enumerate(names)
    ]
    return sorted(ranks, key=lambda rank: -rank.win_share)


def _end(wins: NDArray[np.float64], place: int, sign: int) -> float | None:
    """Return one end of the 95 % interval of a system's win share.

    It is Student's, of the logarithm of the strength, with the variance over questions that needs
    no model of how raters agree within one (the sandwich of Huber 1967 and White 1982; Liang and
    Zeger 1986 for groups). The sample has one more question, which the system lost to all others
    for the low end and won for the high end: where all raters agree, it has no variance without.
    Questions on which the system was not compared tell nothing of its variance and are not counted.

    Args:
        wins: of each question, how often the system of a row was preferred to that of a column.
        place: of the system.
        sign: -1 for the low end, 1 for the high one.

    Returns:
        None if it was compared on fewer than two questions.
    """
    from scipy.stats import t

    met = (wins + wins.transpose(0, 2, 1))[:, place] > 0
    compared = int(met.any(axis=1).sum())
    if compared < 2:
        return None
    total = wins.sum(axis=0)
    beaten = total[:, place] if sign > 0 else total[place]
    if not beaten.any():
        return (sign + 1) / 2
    more = np.zeros_like(total)
    games = (total + total.T)[place] / np.maximum(met.sum(axis=0), 1)
    if sign > 0:
        more[place] = games
    else:
        more[:, place] = games
    sample = np.concatenate([wins, more[None]])
    shares = _win_shares(sample.sum(axis=0), _LESS)
    strengths = np.log(shares / (1 - shares))
    chance = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    scores = (sample - (sample + sample.transpose(0, 2, 1)) * chance).sum(axis=2)
    known = _started(sample.sum(axis=0), _LESS)
    weights = (known + known.T) * chance * (1 - chance)
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    count = compared + 1
    variance = (inverse @ (scores.T @ scores) @ inverse)[place, place] * count / (count - 1)
    end = strengths[place] + sign * t.ppf(0.975, count - 1) * np.sqrt(variance)
    return float(1 / (1 + np.exp(-end)))


def _wins(ratings: Sequence[Mapping[str, float]], names: Sequence[str]) -> NDArray[np.float64]:
    wins = np.zeros((len(names), len(names)))
    for rating in ratings:
        for one, first in enumerate(names):
            for two, second in enumerate(names):
                if one != two and first in rating and second in rating:
                    wins[one, two] += (1 + np.sign(rating[first] - rating[second])) / 2
    return wins


def _win_shares(wins: NDArray[np.float64], start: float = _HALF) -> NDArray[np.float64]:
    """Return the probability of each system to be preferred to an average one."""
    count = len(wins)
    wins = _started(wins, start)
    games = wins + wins.T
    strength = np.ones(count)
    for _ in range(_ROUNDS):
        new = wins.sum(axis=1) / (games / (strength[:, None] + strength[None, :])).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        if np.abs(new - strength).max() < _CLOSE:
            break
        strength = new
    return strength / (1 + strength)


def _started(wins: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    """Return the wins with those that every system starts with against every other."""
    return wins + start * (1 - np.eye(len(wins)))
