"""The quality gate: a speed-up counts only if the answers are shown to be as good, and as long.

The figures and the lengths are those that MLPerf Inference checks (datacenter, large language
models). MLPerf compares means, which chance decides with few questions; here it must be shown that
a figure is not worse by more than a margin (non-inferiority).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from medsweep.comparison.answers import pair_answers
from medsweep.digits import percent
from medsweep.metrics.power import POWER
from medsweep.metrics.resampling import FEWEST_PAIRS, paired_differences
from medsweep.metrics.significance import ALPHA
from medsweep.results.aggregate import Row, average, values

JUDGED = ("rouge1", "rouge2", "rouge_l", "token_f1")
MARGIN = 0.05
"""Share by which a figure may be worse, unless another is named."""

LENGTH_RATIO = (0.9, 1.1)

_SEED, _RESAMPLES = 0, 2000


@dataclass(frozen=True)
class FigureGate:
    """Whether one figure of quality is as good as the reference's, within the margin.

    Attributes:
        share: its mean over the reference's; None if that is 0.
        low: lower bound of the share, which the true one exceeds with 95 % confidence; None with
            too few questions, and if the reference's is 0.
        high: upper bound of the share, in the same way.
        power: probability of passing if the true means are equal; None in the same case.
        questions_needed: for a power of 80 %; None in the same case.
        verdict: `as good`, `worse` or `not known`.
    """

    share: float | None
    low: float | None
    high: float | None
    power: float | None
    questions_needed: int | None
    verdict: Literal["as good", "worse", "not known"]


@dataclass(frozen=True)
class QualityGate:
    """Whether answers are as good and as long as the reference's.

    Attributes:
        subject: what is judged.
        reference: what it is compared with.
        margin: share by which a figure may be worse.
        figures: each figure of quality.
        length_ratio: words of the answers over words of the reference's; None if those are empty.
        questions: questions that both answered.
    """

    subject: str
    reference: str
    margin: float
    figures: dict[str, FigureGate]
    length_ratio: float | None
    questions: int

    @property
    def faults(self) -> list[str]:
        """Why the answers do not pass; empty if they do."""
        low, high = LENGTH_RATIO
        faults = [
            fault
            for name, figure in self.figures.items()
            if (fault := self._fault(name, figure)) is not None
        ]
        if self.length_ratio is None:
            faults.append("the reference's answers are empty")
        elif not low <= self.length_ratio <= high:
            faults.append(f"answers are {self.length_ratio:.2f} times as long, not {low} to {high}")
        return faults

    @property
    def passes(self) -> bool:
        """Whether the answers pass."""
        return not self.faults

    def _fault(self, name: str, figure: FigureGate) -> str | None:
        if figure.share is None or figure.verdict == "as good":
            return None
        if figure.low is None or figure.high is None or figure.power is None:
            return f"{name}: {self.questions} questions are too few, {FEWEST_PAIRS} are needed"
        least = 1 - self.margin
        shown = f"{name} is {percent(figure.share, 1)} of the reference's"
        if figure.verdict == "worse":
            return f"{shown}, at most {percent(figure.high, 1)}, under {percent(least, 1)}"
        return (
            f"{shown}, at least {percent(figure.low, 1)}: not shown to be {percent(least, 1)}; "
            f"equal answers pass in {percent(figure.power)}, and in {percent(POWER)} with "
            f"{figure.questions_needed} questions"
        )


def judge(
    subject: str,
    answers: Sequence[Row],
    reference: str,
    reference_answers: Sequence[Row],
    margin: float = MARGIN,
) -> QualityGate | None:
    """Compare answers with the reference's answers to the same questions.

    Every figure must pass, so none is tested at a smaller level: answers of which one figure is
    worse by the margin pass in at most 5 % (Berger 1982, intersection-union test).

    Args:
        subject: what is judged.
        answers: rows of `responses.parquet`.
        reference: what it is compared with.
        reference_answers: rows of `responses.parquet`.
        margin: share by which a figure may be worse.

    Returns:
        The result; None if no question is in both, or lengths were not stored.
    """
    pairs = pair_answers(reference_answers, answers)
    if not pairs.first or any(
        row.get("answer_words") is None for rows in (*pairs.first, *pairs.second) for row in rows
    ):
        return None
    expected, actual = (
        {name: [average(values(rows, name)) for rows in side] for name in (*JUDGED, "answer_words")}
        for side in (pairs.first, pairs.second)
    )
    words = average(expected["answer_words"])
    return QualityGate(
        subject,
        reference,
        margin,
        {name: judge_figure(expected[name], actual[name], margin) for name in JUDGED},
        average(actual["answer_words"]) / words if words else None,
        len(pairs.first),
    )


def judge_figure(before: Sequence[float], after: Sequence[float], margin: float) -> FigureGate:
    """Test whether the second mean is at least 1 - margin times the first.

    Args:
        before: one value per question, of the reference.
        after: one value per question, in the same order.
        margin: share by which it may be worse.
    """
    first, second = np.array(before), np.array(after)
    mean = float(first.mean())
    if mean == 0:
        return FigureGate(None, None, None, None, None, "not known")
    share = float(second.mean()) / mean
    if len(first) < FEWEST_PAIRS:
        return FigureGate(share, None, None, None, None, "not known")
    # Above 0 where the figure exceeds that share of the reference's.
    excess = (second - (1 - margin) * first)[:, None]
    (bounds,) = paired_differences(
        excess, seed=_SEED, confidence=1 - 2 * ALPHA, resamples=_RESAMPLES
    )
    if bounds.low is None or bounds.high is None or bounds.error is None:
        return FigureGate(share, None, None, None, None, "not known")
    verdict: Literal["as good", "worse", "not known"] = (
        "as good" if bounds.low > 0 else "worse" if bounds.high < 0 else "not known"
    )
    reach, room = bounds.mean - bounds.low, margin * mean
    normal = NormalDist()
    power = normal.cdf((room - reach) / bounds.error) if bounds.error else float(room > reach)
    needed = len(first) * ((reach + normal.inv_cdf(POWER) * bounds.error) / room) ** 2
    return FigureGate(
        share,
        1 - margin + bounds.low / mean,
        1 - margin + bounds.high / mean,
        power,
        max(FEWEST_PAIRS, round(needed)),
        verdict,
    )
