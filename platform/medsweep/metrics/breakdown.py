"""Quality by groups of questions, the worst answers, and the questions that got worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medsweep.metrics.resampling import mean_intervals
from medsweep.metrics.significance import holm

FIGURES = ("token_f1", "quantity_agreement", "concept_f1", "consistency")
"""One figure per kind: the figures of overlap say the same of a group."""

FEWEST_QUESTIONS = 6
"""Groups with fewer questions are pooled: they show nothing, and could point to a person."""

MOST_GROUPS = 20
"""Most groups of one column; the questions of smaller ones are pooled."""

OTHER = "other"
LENGTH = "reference words"
SHOWN = 10
"""Worst answers, and questions that got worse, that are listed."""

_DRAWS = 10_000
_VALUES_AT_ONCE = 1_000_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class GroupQuality:
    """One figure over the questions of one group.

    Attributes:
        column: by which the questions are grouped.
        group: value of the column; `OTHER` for small groups together.
        figure: name of the quality figure.
        questions: number of questions with that figure.
        mean: over these questions, 0 to 1.
        low: lower end of its 95 % interval; None for one question.
        high: upper end; None in the same case.
        rest: mean over all other questions; None without any.
        p_value: of a permutation test of group against rest, corrected for all groups, columns and
            figures together (Holm); None for fewer than `FEWEST_QUESTIONS` on either side.
    """

    column: str
    group: str
    figure: str
    questions: int
    mean: float
    low: float | None
    high: float | None
    rest: float | None
    p_value: float | None


@dataclass(frozen=True)
class Worsened:
    """How many questions got better or worse by token F1, and which got worst.

    Attributes:
        questions: graded in both samples.
        token_f1_higher: whose token F1 rose.
        token_f1_lower: whose token F1 fell.
        contradicting: whose consistency fell: more of their answers contradict the reference.
        worst: up to `SHOWN` of those that got worse in either: new contradictions first, then by
            token F1.
    """

    questions: int
    token_f1_higher: int
    token_f1_lower: int
    contradicting: int
    worst: list[str]


def length_label(words: int, strata: Sequence[int]) -> str:
    """Return the stratum of a reference with this number of words, such as "50-149"."""
    place = int(np.searchsorted(strata, words, side="right"))
    start = (0, *strata)[place]
    return f"{start}+" if place == len(strata) else f"{start}-{strata[place] - 1}"


def pooled(groups: Sequence[str | None]) -> list[str | None]:
    """Return the groups with the small ones pooled as `OTHER`; None stays."""
    counted = Counter(group for group in groups if group is not None)
    kept = {
        group
        for group, questions in counted.most_common(MOST_GROUPS)
        if questions >= FEWEST_QUESTIONS
    }
    return [group if group is None or group in kept else OTHER for group in groups]


def quality_by_group(
    scores: Mapping[str, NDArray[np.float64]],
    columns: Mapping[str, Sequence[str | None]],
    *,
    seed: int,
) -> list[GroupQuality]:
    """Return the quality of each group of questions, compared with all other questions.

    The test permutes the questions' values: if the group made no difference, they could as well be
    another group's (Fisher 1935). A t-test would trust a small group in which no value differs.

    Args:
        scores: figures by name, one value per question; nan where there is none.
        columns: group of each question by column; None where it has none.
        seed: of the bootstrap and of the permutations.

    Returns:
        By column, group (most questions first) and figure; columns with a single group are left
        out.
    """
    labelled: dict[str, tuple[list[str], NDArray[np.int64]]] = {}
    for column, groups in columns.items():
        labels = pooled(groups)
        order = [name for name, _ in Counter(filter(None, labels)).most_common()]
        if len(order) > 1:
            # What has no label comes last, and is no group of its own.
            codes = [len(order) if label is None else order.index(label) for label in labels]
            labelled[column] = order, np.array(codes)
    by_figure = {
        figure: _of_figure(figure, values, labelled, seed)
        for figure, values in scores.items()
        if labelled and not np.isnan(values).all()
    }
    found = [
        each[column, group]
        for column, (order, _) in labelled.items()
        for group in order
        for each in by_figure.values()
        if (column, group) in each
    ]
    tested = [place for place, each in enumerate(found) if each.p_value is not None]
    for place, p in zip(tested, holm([found[t].p_value or 0.0 for t in tested]), strict=True):
        found[place] = replace(found[place], p_value=p)
    return found


def _of_figure(
    figure: str,
    values: NDArray[np.float64],
    labelled: Mapping[str, tuple[list[str], NDArray[np.int64]]],
    seed: int,
) -> dict[tuple[str, str], GroupQuality]:
    known = ~np.isnan(values)
    value = values[known]
    codes = {column: code[known] for column, (_, code) in labelled.items()}
    p_values = _permutation_p(value, list(codes.values()), seed)
    found = {}
    for (column, code), tests in zip(codes.items(), p_values, strict=True):
        order = labelled[column][0]
        for group, p_value in tests.items():
            if group == len(order):
                continue
            inside, rest = value[code == group], value[code != group]
            [interval] = mean_intervals(inside[:, None], seed=seed)
            enough = min(len(inside), len(rest)) >= FEWEST_QUESTIONS
            found[column, order[group]] = GroupQuality(
                column,
                order[group],
                figure,
                len(inside),
                interval.mean,
                interval.low,
                interval.high,
                float(rest.mean()) if len(rest) else None,
                p_value if enough else None,
            )
    return found


def _permutation_p(
    values: NDArray[np.float64], columns: Sequence[NDArray[np.int64]], seed: int
) -> list[dict[int, float]]:
    """Return the two-sided p-value of each group's mean, by shuffling the values among groups.

    Args:
        values: one per question.
        columns: the group of each question; all columns are tested by the same shuffles.
        seed: of the shuffles.

    Returns:
        For each column the p-value by group.
    """
    rng = np.random.default_rng(seed)
    count, mean, current = len(values), values.mean(), values.copy()
    groups = [np.unique(codes, return_counts=True) for codes in columns]
    starts = [np.cumsum(sizes) - sizes for _, sizes in groups]
    limits = [
        np.abs(np.add.reduceat(values[np.argsort(codes, kind="stable")], start) - mean * sizes)
        - _ROUNDING
        for codes, start, (_, sizes) in zip(columns, starts, groups, strict=True)
    ]
    extreme = [np.zeros(len(sizes)) for _, sizes in groups]
    block = max(1, _VALUES_AT_ONCE // count)
    for done in range(0, _DRAWS, block):
        draws = min(block, _DRAWS - done)
        # One row at a time: `permuted` takes more than three times as long.
        shuffled = np.empty((draws, count))
        for row in shuffled:
            rng.shuffle(current)
            row[:] = current
        for place, (_, sizes) in enumerate(groups):
            sums = np.add.reduceat(shuffled, starts[place], axis=1)
            extreme[place] += (np.abs(sums - mean * sizes) >= limits[place]).sum(axis=0)
    return [
        {
            int(group): float((seen + 1) / (_DRAWS + 1))
            for group, seen in zip(present, counts, strict=True)
        }
        for (present, _), counts in zip(groups, extreme, strict=True)
    ]


def worst(scores: Sequence[Mapping[str, float | None]]) -> list[int]:
    """Return the places of the answers, the worst first: contradictions, then by token F1.

    Args:
        scores: `consistency` and `token_f1` of each answer; ungraded ones are left out.
    """
    graded = [
        (consistency if (consistency := each.get("consistency")) is not None else 1.0, f1, place)
        for place, each in enumerate(scores)
        if (f1 := each["token_f1"]) is not None
    ]
    return [place for *_, place in sorted(graded)]


def worsened(
    before: Mapping[str, Mapping[str, float | None]],
    after: Mapping[str, Mapping[str, float | None]],
) -> Worsened:
    """Compare the same questions in two samples.

    Args:
        before: mean figures of each question's answers; ungraded questions are left out.
        after: the same for the second sample.
    """
    changes = {}
    for question, first in before.items():
        second = after.get(question, {})
        consistency, f1 = (
            _change(first.get(name), second.get(name)) for name in ("consistency", "token_f1")
        )
        if f1 is not None:
            changes[question] = (consistency or 0.0, f1)
    down = [question for question, change in changes.items() if min(change) < 0]
    down.sort(key=lambda question: (min(changes[question][0], 0.0), changes[question][1]))
    return Worsened(
        len(changes),
        sum(f1 > 0 for _, f1 in changes.values()),
        sum(f1 < 0 for _, f1 in changes.values()),
        sum(consistency < 0 for consistency, _ in changes.values()),
        down[:SHOWN],
    )


def _change(before: float | None, after: float | None) -> float | None:
    if before is None or after is None:
        return None
    # Means of the same scores in another order differ in their last digits.
    return round(after - before, 9)
