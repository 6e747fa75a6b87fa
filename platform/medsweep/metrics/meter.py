"""The clinical-error meter: which deliberate errors each quality figure sees.

References are made wrong on purpose and graded against what they were before. A figure sees an
error if it falls below a limit; the limit is the lowest that harmless rewrites of the same
references stay above, but for 5 % of them. So a figure that falls a little for any change sees
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.perturb import ERRORS, HARMLESS, perturbed
from medsweep.metrics.quality import (
    CLAIM_METRICS,
    DEFAULT_GRADER,
    QUALITY_METRICS,
    Grader,
    score_and_count,
)
from medsweep.metrics.resampling import share_interval

MOST = 200
"""Most references that are perturbed; a share of this many is certain within about 7 points."""

FALSE_ALARMS = 0.05
"""Largest share of harmless rewrites that a figure may take for errors."""

FEWEST_HARMLESS = 20
"""Fewest harmless rewrites from which a limit is taken: of 20, one may be an alarm."""

ANY_ERROR = "any error"
REWRITE = "harmless rewrite"

Grade = Callable[[str, str], Mapping[str, float | None]]
"""Returns figures by name of an answer (first) beside its reference; higher is better."""


@dataclass(frozen=True)
class Detection:
    """How many errors of one kind a figure sees.

    Attributes:
        figure: name of the quality figure.
        kind: kind of error, `ANY_ERROR`, or `REWRITE` for the share of false alarms.
        seen: how many it sees.
        tried: how many there were.
        share: seen over tried; None if there were none, or too few harmless rewrites.
        low: lower end of the exact 95 % interval; None in the same case.
        high: upper end; None in the same case.
    """

    figure: str
    kind: str
    seen: int
    tried: int
    share: float | None
    low: float | None
    high: float | None


def measure_detection(
    references: Sequence[str],
    questions: Sequence[str] | None = None,
    *,
    seed: int,
    grader: Grader = DEFAULT_GRADER,
    grade: Grade | None = None,
) -> list[Detection]:
    """Return what each figure sees, on the user's own references.

    Args:
        references: right answers; the first `MOST` are used.
        questions: one per reference; without them no term of another question is put in.
        seed: of the places that are changed.
        grader: of the figures of `metrics.quality`; those of claims are left out if it judges none.
        grade: other figures to examine in their place.

    Returns:
        One entry per figure and kind, `ANY_ERROR` and `REWRITE` last.
    """
    grade = grade or _figures_by(grader)
    texts = list(references[:MOST])
    asked = [""] * len(texts) if questions is None else list(questions[:MOST])
    scores = {
        kind: [grade(changed, text) for changed, text in perturbed(kind, texts, asked, seed)]
        for kind in (*ERRORS, *HARMLESS)
    }
    harmless = [figures for kind in HARMLESS for figures in scores[kind]]
    errors = {kind: scores[kind] for kind in ERRORS}
    kinds = errors | {ANY_ERROR: [figures for kind in errors for figures in errors[kind]]}
    names = dict.fromkeys(
        name for graded in scores.values() for figures in graded for name in figures
    )
    return [
        detection for name in names for detection in _of_figure(name, kinds | {REWRITE: harmless})
    ]


def _figures_by(grader: Grader) -> Grade:
    """Return the grade by every figure of `metrics.quality` that a grader has."""
    left_out = CLAIM_METRICS if grader.entailment is None else ()
    names = [name for name in QUALITY_METRICS if name not in left_out]

    def grade(answer: str, reference: str) -> dict[str, float | None]:
        score = score_and_count(answer, reference, grader)[0]
        return {name: getattr(score, name) for name in names}

    return grade


def _of_figure(
    name: str, kinds: Mapping[str, Sequence[Mapping[str, float | None]]]
) -> list[Detection]:
    values = {
        # What a figure cannot grade, it does not see.
        kind: np.array([_or_right(figures.get(name)) for figures in graded])
        for kind, graded in kinds.items()
    }
    limit = _limit(values[REWRITE])
    detections = []
    for kind, graded in values.items():
        tried = len(graded)
        if limit is None or not tried:
            detections.append(Detection(name, kind, 0, tried, None, None, None))
            continue
        seen = int((graded < limit).sum())
        detections.append(
            Detection(name, kind, seen, tried, seen / tried, *share_interval(seen, tried))
        )
    return detections


def _limit(harmless: NDArray[np.float64]) -> float | None:
    """Return the value below which a figure raises an alarm; None for too few rewrites."""
    if len(harmless) < FEWEST_HARMLESS:
        return None
    allowed = int(FALSE_ALARMS * len(harmless))
    return float(np.sort(harmless)[allowed])


def _or_right(value: float | None) -> float:
    return np.inf if value is None else value
