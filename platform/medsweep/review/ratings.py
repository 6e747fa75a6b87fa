"""What the raters' files say together: agreement, ratings of each system, and a ranking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medsweep.errors import InputError
from medsweep.metrics.raters import ranking, reliability
from medsweep.metrics.resampling import mean_intervals
from medsweep.results.store import read_json, write_json
from medsweep.review.sheet import AXES, KEY

REVIEW = "review.json"

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
    summary = {
        "review": key["review"],
        "raters": len(ratings),
        "answers": len({answer for given in ratings.values() for answer in given}),
        "agreement": {axis.name: asdict(_agreement(ratings, axis.name, seed)) for axis in AXES},
        "systems": _systems(ratings, key["answers"], seed),
        "ranking": [asdict(rank) for rank in ranking(_scores(ratings, key["answers"]), seed=seed)],
    }
    write_json(folder / REVIEW, summary)
    return summary


def _read(file: Path, key: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, int]]]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
    if not isinstance(given, dict) or not {"review", "rater", "ratings"} <= set(given):
        raise InputError(f"{file}: not a file of ratings: it needs review, rater and ratings")
    if given["review"] != key["review"]:
        raise InputError(
            f"{file}: of review {given['review']}, but the key is of {key['review']}: export "
            "again makes another review"
        )
    options = {axis.name: len(axis.options) for axis in AXES}
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


def _agreement(ratings: Ratings, axis: str, seed: int) -> Any:
    answers = dict.fromkeys(answer for given in ratings.values() for answer in given)
    units = [
        [given[answer][axis] for given in ratings.values() if axis in given.get(answer, {})]
        for answer in answers
    ]
    return reliability(units, seed=seed)


def _systems(
    ratings: Ratings, answers: Mapping[str, Any], seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the share of best ratings by system and axis, with its interval over questions."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for given in ratings.values():
        for answer, rated in given.items():
            for system in answers[answer]["systems"]:
                for axis in AXES:
                    if axis.name in rated:
                        best = float(rated[axis.name] == len(axis.options) - 1)
                        by_question = found.setdefault(system, {}).setdefault(axis.name, {})
                        by_question.setdefault(answers[answer]["question_id"], []).append(best)
    return {
        system: {axis: _share(by_question, seed) for axis, by_question in axes.items()}
        for system, axes in sorted(found.items())
    }


def _share(by_question: Mapping[str, Sequence[float]], seed: int) -> dict[str, Any]:
    means = np.array([np.mean(ratings) for ratings in by_question.values()])
    [interval] = mean_intervals(means[:, None], seed=seed)
    return {
        "best": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "questions": len(means),
    }


def _scores(ratings: Ratings, answers: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Return each rater's scores of the systems by question: all axes together, each 0 to 1.

    Only answers that are rated on every axis count.
    """
    scores: dict[str, list[dict[str, float]]] = {}
    for given in ratings.values():
        of_rater: dict[str, dict[str, float]] = {}
        for answer, rated in given.items():
            if all(axis.name in rated for axis in AXES):
                score = sum(rated[axis.name] / (len(axis.options) - 1) for axis in AXES)
                for system in answers[answer]["systems"]:
                    of_rater.setdefault(answers[answer]["question_id"], {})[system] = score
        for question, systems in of_rater.items():
            scores.setdefault(question, []).append(systems)
    return scores
