"""What ratings say together: agreement, ratings of each system, a ranking, and what passed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median_low
from typing import Any, TypeVar

import numpy as np

from medsweep.errors import InputError, cause_of
from medsweep.metrics.raters import ranking, reliability
from medsweep.metrics.resampling import mean_intervals
from medsweep.results.store import read_json, write_json
from medsweep.review.rubric import Axis, Rubric, shipped_rubric
from medsweep.review.sheet import KEY

REVIEW = "review.json"

T = TypeVar("T")
Ratings = dict[str, dict[str, dict[str, int]]]
"""Rating by rater, answer and axis."""


def merge(folder: Path, files: Sequence[Path], *, seed: int) -> dict[str, Any]:
    """Merge the raters' files and write `review.json` into the results' folder.

    Args:
        folder: of the results, with the key of the review.
        files: one per rater.
        seed: of the bootstraps.

    Returns:
        What was written.

    Raises:
        InputError: there is no key, or a file is not of this review.
    """
    key = read_json(folder / KEY)
    if key is None:
        raise InputError(f"{folder}: no {KEY} there; `medsweep review export` writes it")
    ratings: Ratings = {}
    for file in files:
        rater, given = _read(file, key)
        if rater in ratings:
            raise InputError(f"{file}: rater {rater!r} is in another file already; give each once")
        ratings[rater] = given
    if not any(ratings.values()):
        raise InputError("no answer is rated in these files")
    rubric, answers = shipped_rubric(), key["answers"]
    summary = {
        "review": key["review"],
        "raters": len(ratings),
        "answers": len({answer for given in ratings.values() for answer in given}),
        "agreement": agreement(ratings, [axis.name for axis in rubric.axes], seed),
        "systems": rated_systems(ratings, answers, rubric.axes, seed),
        "ranking": [asdict(rank) for rank in ranking(_scores(ratings, answers))],
        "ratings": by_digest(medians(ratings, rubric.axes), answers),
        "passed": by_digest(passed(ratings, rubric), answers),
    }
    write_json(folder / REVIEW, summary)
    return summary


def _read(file: Path, key: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, int]]]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {cause_of(error)}") from None
    if not isinstance(given, dict) or not {"review", "rater", "ratings"} <= set(given):
        raise InputError(f"{file}: not a file of ratings: it needs review, rater and ratings")
    if given["review"] != key["review"]:
        raise InputError(
            f"{file}: of review {given['review']}, but the key is of {key['review']}: export "
            "again makes another review"
        )
    options = {axis.name: len(axis.options) for axis in shipped_rubric().axes}
    if not isinstance(given["ratings"], dict):
        raise InputError(f"{file}: ratings is not an object")
    for answer, rated in given["ratings"].items():
        wrong = answer not in key["answers"] or not isinstance(rated, dict)
        if wrong or not all(
            type(value) is int and 0 <= value < options.get(axis, 0)
            for axis, value in rated.items()
        ):
            raise InputError(f"{file}: the rating of answer {answer!r} is not of this review")
    return str(given["rater"]), given["ratings"]


def agreement(ratings: Ratings, axes: Iterable[str], seed: int) -> dict[str, dict[str, Any]]:
    """Return Krippendorff's alpha of the raters by axis.

    Args:
        ratings: at least one rater's.
        axes: names of the rubric's axes.
        seed: of the bootstrap over answers.
    """
    return {
        axis: asdict(reliability(list(_by_answer(ratings, axis).values()), seed=seed))
        for axis in axes
    }


def _by_answer(ratings: Ratings, axis: str) -> dict[str, list[int]]:
    """Return the ratings of each answer on one axis; an answer may have none."""
    by_answer: dict[str, list[int]] = {answer: [] for given in ratings.values() for answer in given}
    for given in ratings.values():
        for answer, rated in given.items():
            if axis in rated:
                by_answer[answer].append(rated[axis])
    return by_answer


def rated_systems(
    ratings: Ratings, answers: Mapping[str, Any], axes: Sequence[Axis], seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the share of best ratings by system and axis, with its interval over questions.

    Args:
        ratings: at least one rater's.
        answers: key of the sheet.
        axes: of the rubric.
        seed: of the bootstrap over questions.
    """
    systems: dict[str, dict[str, dict[str, Any]]] = {}
    for axis in axes:
        best = (
            (answer, float(rated[axis.name] == axis.best))
            for given in ratings.values()
            for answer, rated in given.items()
            if axis.name in rated
        )
        for system, share in _system_shares(best, answers, seed, "best").items():
            systems.setdefault(system, {})[axis.name] = share
    return dict(sorted(systems.items()))


def passed_systems(
    verdicts: Mapping[str, bool], answers: Mapping[str, Any], seed: int
) -> dict[str, dict[str, Any]]:
    """Return the share of answers that passed by system, with its interval over questions.

    Args:
        verdicts: of `passed`.
        answers: key of the sheet.
        seed: of the bootstrap over questions.
    """
    values = ((answer, float(verdict)) for answer, verdict in verdicts.items())
    return _system_shares(values, answers, seed, "share")


def _system_shares(
    values: Iterable[tuple[str, float]], answers: Mapping[str, Any], seed: int, name: str
) -> dict[str, dict[str, Any]]:
    """Return the share of each system; values of an answer count for every system that gave it."""
    systems: dict[str, dict[str, list[float]]] = {}
    for answer, value in values:
        for system in answers[answer]["systems"]:
            by_question = systems.setdefault(system, {})
            by_question.setdefault(answers[answer]["question_id"], []).append(value)
    return {
        system: question_share(by_question, seed, name)
        for system, by_question in sorted(systems.items())
    }


def medians(ratings: Ratings, axes: Sequence[Axis]) -> dict[str, dict[str, int]]:
    """Return the median rating of each answer by axis; the lower of two in the middle."""
    middle: dict[str, dict[str, int]] = {
        answer: {} for given in ratings.values() for answer in given
    }
    for axis in axes:
        for answer, rated in _by_answer(ratings, axis.name).items():
            if rated:
                middle[answer][axis.name] = median_low(rated)
    return {answer: by_axis for answer, by_axis in middle.items() if by_axis}


def passed(ratings: Ratings, rubric: Rubric) -> dict[str, bool]:
    """Return whether more than half of its raters pass each answer.

    Only ratings on every axis count; answers without any are left out.
    """
    names = {axis.name for axis in rubric.axes}
    verdicts: dict[str, list[bool]] = {}
    for given in ratings.values():
        for answer, rated in given.items():
            if names <= set(rated):
                verdicts.setdefault(answer, []).append(rubric.passes(rated))
    return {answer: 2 * sum(each) > len(each) for answer, each in verdicts.items()}


def by_digest(values: Mapping[str, T], answers: Mapping[str, Any]) -> dict[str, T]:
    """Return values by the answers' digests, for other draws of the same answers.

    Args:
        values: by id in this draw.
        answers: its key; that of an earlier version has no digests.
    """
    return {
        answers[answer]["digest"]: value
        for answer, value in values.items()
        if "digest" in answers[answer]
    }


def question_share(
    by_question: Mapping[str, Sequence[float]], seed: int, name: str = "share"
) -> dict[str, Any]:
    """Return a share as its mean over questions, with its interval.

    Args:
        by_question: values from 0 to 1, averaged by question first.
        seed: of the bootstrap over questions.
        name: of the mean.
    """
    means = np.array([np.mean(ratings) for ratings in by_question.values()])
    [interval] = mean_intervals(means[:, None], seed=seed)
    return {
        name: interval.mean,
        "low": interval.low,
        "high": interval.high,
        "questions": len(means),
    }


def _scores(ratings: Ratings, answers: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Return each rater's scores of the systems by question: all axes together, each 0 to 1.

    Only answers that are rated on every axis count.
    """
    axes = shipped_rubric().axes
    scores: dict[str, list[dict[str, float]]] = {}
    for given in ratings.values():
        of_rater: dict[str, dict[str, float]] = {}
        for answer, rated in given.items():
            if all(axis.name in rated for axis in axes):
                score = sum(rated[axis.name] / axis.best for axis in axes)
                for system in answers[answer]["systems"]:
                    of_rater.setdefault(answers[answer]["question_id"], {})[system] = score
        for question, systems in of_rater.items():
            scores.setdefault(question, []).append(systems)
    return scores
