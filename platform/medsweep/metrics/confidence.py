"""Whether a model knows when it is right: calibration, and quality where it is surest.

As in HELM (Liang et al. 2022): expected calibration error over ten bins of equal size, and accuracy
against coverage (Geifman & El-Yaniv 2017): what remains right if only the surest are answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.discrimination import (
    FEWEST,
    Z_95,
    Values,
    auroc_interval,
    correlation_interval,
)
from medsweep.metrics.resampling import bootstrap_bounds, mean_intervals
from medsweep.metrics.statistics import Interval

BINS = 10
"""Of a calibration error; with `FEWEST` answers, 5 in each."""

COVERAGE = 0.8
"""Share of the answers, the surest, of which the quality is given."""

_EXTREMES = 2
"""Questions that a sample may have missed, for the bounds of an area."""

_SIMULATIONS = 200

_GREATEST = 700.0
"""Of an exponent: beyond it, a number is infinite."""


@dataclass(frozen=True)
class Confidence:
    """How confidence and quality go together, over questions.

    Attributes:
        questions: with a confidence.
        ranking: of right and wrong answers, how often a right one has more confidence than a wrong
            one (AUROC): 0.5 is chance. Of graded answers, Spearman's rank correlation of confidence
            and figure: 0 is chance. None if all are equally good, or equally sure.
        area: mean quality over all coverages; at least the mean quality if confidence helps.
        covered: mean quality of the `COVERAGE` surest.
        ece: mean distance of confidence and share of right answers over bins; None where confidence
            is no probability, or under `FEWEST` questions.
        ece_if_calibrated: what it would be, on average, if every confidence were the true
            probability: bins of few answers differ by chance.
        brier: mean squared distance of confidence and outcome; None where it is no probability.
    """

    questions: int
    ranking: Interval | None
    area: Interval
    covered: Interval
    ece: Interval | None
    ece_if_calibrated: float | None
    brier: Interval | None


def confidence_figures(
    confidence: Values, quality: Values, *, seed: int, probabilities: bool
) -> Confidence | None:
    """Return how confidence and quality go together; None without questions.

    Args:
        confidence: one value per question; more is surer.
        quality: one value per question, 0 to 1; with probabilities 1 for a right answer, else 0.
        seed: seed of the bootstrap over questions.
        probabilities: whether confidence is the probability of being right.
    """
    count = len(confidence)
    if count == 0:
        return None
    calibrates = probabilities and count >= FEWEST
    brier = None
    if probabilities:
        [brier] = mean_intervals(((confidence - quality) ** 2)[:, None], seed=seed)
        ranking = auroc_interval(confidence, quality)
    else:
        ranking = correlation_interval(confidence, quality, seed=seed)
    return Confidence(
        questions=count,
        ranking=ranking,
        area=area_interval(confidence, quality, seed=seed),
        covered=_covered(confidence, quality, seed),
        ece=_calibration_interval(confidence, quality) if calibrates else None,
        ece_if_calibrated=_by_chance(confidence, seed) if calibrates else None,
        brier=brier,
    )


def calibration_error(confidence: Values, right: Values, bins: int = BINS) -> float:
    """Return the expected calibration error over bins with equally many answers.

    Equally sure answers share their mean outcome: which of them falls into which bin says nothing.
    """
    right = _tied_means(confidence, right)
    parts = [part for part in np.array_split(np.argsort(confidence), bins) if len(part)]
    distances = [abs(confidence[part].mean() - right[part].mean()) for part in parts]
    return float(np.average(distances, weights=[len(part) for part in parts]))


def _calibration_interval(confidence: Values, right: Values) -> Interval:
    """Return the calibration error with an interval that covers the true one in 95 % or more.

    The error of each bin is the true one and noise. By Jensen's inequality the mean error is at
    least the true one, and by the triangle inequality it exceeds it by no more than the mean size
    of the noise: sqrt(2 bins / pi) standard errors, s, of the mean of confidence - outcome. The
    error varies around its mean by at most s (concentration of Gaussian measure). A bootstrap fails
    here: it adds noise to a distance that cannot fall below 0. One right and one wrong answer more
    give s a least size where all answers were right.
    """
    error, mean = calibration_error(confidence, right), confidence.mean()
    gaps = np.append(confidence - right, (mean - 1, mean))
    s = float(np.std(gaps, ddof=1)) / np.sqrt(len(right))
    noise = np.sqrt(2 * BINS / np.pi) * s
    low, high = error - noise - Z_95 * s, error + Z_95 * s
    return Interval(error, float(max(low, 0.0)), float(min(high, 1.0)))


def probability_of(logprobs: Sequence[float], place: int) -> float:
    """Return the probability of one option, given that it is one of all.

    Args:
        logprobs: of the options, natural logarithms.
        place: of the option, from 0.
    """
    return 1 / sum(exp(min(each - logprobs[place], _GREATEST)) for each in logprobs)


def surest_first(confidence: Values, quality: Values) -> Values:
    """Return the quality from the surest answer on; equally sure ones have their common mean."""
    return np.asarray(_tied_means(confidence, quality)[np.argsort(-confidence)])


def _tied_means(confidence: Values, quality: Values) -> Values:
    """Return, for each answer, the mean quality of those that are as sure as it is."""
    _, group = np.unique(confidence, return_inverse=True)
    means = np.bincount(group, weights=quality) / np.bincount(group)
    return np.asarray(means[group])


def area(confidence: Values, quality: Values) -> float:
    """Return the mean over all coverages of the mean quality of the surest answers."""
    ranked = surest_first(confidence, quality)
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1)).mean())


def area_interval(confidence: Values, quality: Values, *, seed: int) -> Interval:
    """Return the area under quality against coverage with its 95 % interval.

    The interval is a bootstrap over questions and, for each end, two more with the worst or the
    best quality, as that of a mean allows for: where all answers are right, a bootstrap without
    them is [1, 1]. They have a confidence at which a question counts as much as on average, with a
    share of 1 / e of the others surer: a place's weight is -ln(share) / n.

    Args:
        confidence: one value per question.
        quality: one value per question, 0 to 1.
        seed: of the bootstraps.

    Returns:
        No bounds under `FEWEST` questions.
    """
    middle = area(confidence, quality)
    if len(confidence) < FEWEST:
        return Interval(middle, None, None)
    sure = np.append(confidence, [np.quantile(confidence, 1 - exp(-1))] * _EXTREMES)
    ends = []
    for extreme in (0.0, 1.0):
        graded = np.append(quality, [extreme] * _EXTREMES)
        ends.append(_area_bounds(sure, graded, seed))
    (low, _), (_, high) = ends
    return Interval(middle, min(low, middle), max(high, middle))


def _area_bounds(confidence: Values, quality: Values, seed: int) -> tuple[float, float]:
    def statistic(rows: NDArray[np.int64]) -> float:
        return area(confidence[rows], quality[rows])

    low, high = bootstrap_bounds(statistic, len(confidence), seed=seed)
    return float(low), float(high)


def _by_chance(confidence: Values, seed: int) -> float:
    """Return the mean calibration error of outcomes that have these probabilities."""
    rng = np.random.default_rng(seed)
    draws = rng.random((_SIMULATIONS, len(confidence))) < confidence
    return float(np.mean([calibration_error(confidence, draw.astype(float)) for draw in draws]))


def _covered(confidence: Values, quality: Values, seed: int) -> Interval:
    """Return the mean quality of the surest answers, with its interval.

    Of equally sure ones at the limit, of which some are too many, the mean counts. Means vary less
    than answers do, so the interval is that of as many single ones, evenly spread over their
    quality.
    """
    count = int(np.ceil(COVERAGE * len(confidence)))
    limit = np.sort(confidence)[-count]
    surer, tied = quality[confidence > limit], np.sort(quality[confidence == limit])
    room = count - len(surer)
    spread = tied[((np.arange(room) + 0.5) * len(tied) / room).astype(int)]
    [interval] = mean_intervals(np.concatenate([surer, spread])[:, None], seed=seed)
    return replace(interval, mean=float(surest_first(confidence, quality)[:count].mean()))
