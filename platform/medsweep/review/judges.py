"""Several judges of the same answers: their agreement with raters and each other, and which counts.

The verdicts of a judge count for verified answers only if it is shown to agree with clinicians.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsweep.results.aggregate import group_by
from medsweep.results.reader import judges_by_name
from medsweep.results.store import read_json, updating, write_json
from medsweep.review.ratings import REVIEW, agreement
from medsweep.review.rubric import shipped_rubric

JUDGE = "judge.json"
NOT_MEASURED = "an opinion: agreement with raters was not measured"
ACCEPTABLE = 0.667
"""Least alpha from which conclusions may be drawn, tentatively (Krippendorff 2004)."""
FEWEST_RATED = 20
"""Least answers that raters rated too, on every axis, for a judge to count.

With two equally frequent ratings, an alpha of 0.667 means that judge and raters disagree on one
answer in six. Fewer than 20 answers can all agree by luck: (5 / 6)^20 is 2.6 %, (5 / 6)^10 16 %.
"""

Alphas = Mapping[str, Mapping[str, Any]]
"""Krippendorff's alpha with its interval, by axis."""


def update_judges(
    folder: Path, *, seed: int, new: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Write `judge.json`, with the agreement of every judge measured anew.

    Args:
        folder: of the results; with a `review.json`, agreement with the raters is measured.
        seed: of the bootstraps.
        new: summaries to add, by the judge's name; they replace earlier ones of the same name.

    Returns:
        What was written; empty, and nothing written, if there is no judge.
    """
    with updating(folder / JUDGE):
        judges = judges_by_name(read_json(folder / JUDGE) or {}) | dict(new or {})
        if not judges:
            return {}
        raters = (read_json(folder / REVIEW) or {}).get("ratings", {})
        measured = {
            name: _beside_raters(each, raters, seed) for name, each in sorted(judges.items())
        }
        record = {
            "judges": measured,
            "between_judges": _between(measured, seed),
            "counted": counted_judge(measured),
        }
        write_json(folder / JUDGE, record)
    return record


def _beside_raters(
    summary: Mapping[str, Any], raters: dict[str, dict[str, int]], seed: int
) -> dict[str, Any]:
    """Return a judge's summary with alpha of its and the raters' medians, and what follows from it.

    An axis of its rubric that the raters were not asked, or with other options, has no alpha.
    """
    if "ratings" not in summary:  # of an earlier version, which measured it
        return dict(summary)
    shipped = {axis.name: list(axis.options) for axis in shipped_rubric().axes}
    same = {name for name, options in summary["options"].items() if options == shipped.get(name)}
    comparable = {
        digest: {name: rating for name, rating in rated.items() if name in same}
        for digest, rated in summary["ratings"].items()
    }
    alphas = agreement({"raters": raters, "judge": comparable}, summary["axes"], seed)
    return {**summary, "agreement": alphas, "standing": standing(alphas)}


def _between(judges: Mapping[str, Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return alpha by axis among the judges of each rubric that several have."""
    rated = [(name, each) for name, each in judges.items() if "ratings" in each]
    rubrics = group_by([{"name": name, **each} for name, each in rated], _rubric)
    return [
        {
            "judges": [each["name"] for each in alike],
            "rubric": alike[0]["judge"]["rubric"],
            "agreement": agreement(
                {each["name"]: each["ratings"] for each in alike}, alike[0]["axes"], seed
            ),
        }
        for alike in rubrics.values()
        if len(alike) > 1
    ]


def _rubric(summary: Mapping[str, Any]) -> str:
    return str(summary["judge"]["rubric_sha256"])


def _doubtful(alphas: Alphas) -> list[str]:
    return [
        name
        for name, each in alphas.items()
        if each["units"] < FEWEST_RATED or (each["low"] or 0.0) < ACCEPTABLE
    ]


def standing(alphas: Alphas) -> str:
    """Return how far a judge's ratings can be believed.

    Args:
        alphas: agreement of its median ratings with the raters', by axis.
    """
    if not any(each["units"] for each in alphas.values()):
        return NOT_MEASURED
    if doubtful := _doubtful(alphas):
        fewest = min(each["units"] for each in alphas.values())
        few = f" (raters rated {fewest} of its answers; at least {FEWEST_RATED} are needed)"
        return (
            f"an opinion: agreement with raters is not shown to reach {ACCEPTABLE} on "
            f"{', '.join(doubtful)}{few if fewest < FEWEST_RATED else ''}"
        )
    return f"agrees with raters: Krippendorff's alpha is at least {ACCEPTABLE} on every axis"


def counted_judge(judges: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the name of the judge whose verdicts count for verified answers.

    Of those that agree with the raters, it is the one with the highest low end of alpha on the axis
    where that is lowest; of several such ones, the first by name.

    Args:
        judges: summaries by name.

    Returns:
        None if no judge is shown to agree with raters.
    """
    weakest = {
        name: min(each["low"] for each in summary["agreement"].values())
        for name, summary in sorted(judges.items())
        if summary.get("agreement") and not _doubtful(summary["agreement"])
    }
    return max(weakest, key=lambda name: weakest[name], default=None)
