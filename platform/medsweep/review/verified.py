"""Verified answers, where raters or a judge were asked too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsweep.metrics.cost import cost_columns
from medsweep.results.aggregate import Row, group_by_columns
from medsweep.results.store import read_json, read_rows
from medsweep.review.ratings import REVIEW, question_share
from medsweep.review.sheet import answer_digest

JUDGE = "judge.json"

_MEASUREMENT = ("load_point", "repeat", "variant")
_PRICES = ("usd_per_verified_answer", "usd_per_verified_answer_low", "usd_per_verified_answer_high")
_SEED = 0


def verified_rows(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Return rows whose verified answers were passed by raters, or by a judge, too.

    An answer is verified if it gives every quantity of its reference, contradicts no quantity and
    no statement of it, and passed. Only answers that were rated count; raters overrule a judge. The
    same text given in another repeat or cell is the same answer.

    Args:
        folder: of the results, with `review.json` or `judge.json`; without either the rows stay.
        rows: of `benchmark.parquet`.
    """
    review, judge = (read_json(folder / name) or {} for name in (REVIEW, JUDGE))
    passed = {**judge.get("passed", {}), **review.get("passed", {})}
    if not passed:
        return list(rows)
    by = _checked_by(review, judge)
    answers: dict[tuple[Any, ...], list[Row]] = {}
    for key in dict.fromkeys(row["key"] for row in rows):
        path = folder / "cells" / str(key) / "responses.parquet"
        if path.is_file():
            for group, each in group_by_columns(read_rows(path), *_MEASUREMENT).items():
                answers[key, *group] = each
    return [
        row
        if (given := answers.get((row["key"], *(row.get(name) for name in _MEASUREMENT)))) is None
        else _verified(row, given, passed, by)
        for row in rows
    ]


def _verified(row: Row, answers: Sequence[Row], passed: Mapping[str, bool], by: str) -> Row:
    by_question: dict[str, list[float]] = {}
    for answer in answers:
        if answer.get("question") is None or answer.get("answer") is None:
            continue
        verdict = passed.get(answer_digest(answer["question"], answer["answer"]))
        if verdict is not None:
            right = answer.get("quantity_agreement") in (None, 1) and answer.get("consistency") == 1
            by_question.setdefault(answer["question_id"], []).append(float(right and verdict))
    columns: dict[str, Any] = dict.fromkeys(("verified_share", *_PRICES))
    columns |= {"verified_share_low": None, "verified_share_high": None, "verified_by": by}
    if by_question:
        share = question_share(by_question, _SEED)
        columns |= {"verified_share": share["share"], "verified_share_low": share["low"]}
        columns |= {"verified_share_high": share["high"]}
    else:
        columns["verified_by"] = f"{by}; none of these answers was rated"
    changed = {**row, **columns}
    return changed | cost_columns(changed)


def _checked_by(review: Mapping[str, Any], judge: Mapping[str, Any]) -> str:
    """Return what verified answers were checked by."""
    parts = ["quantities", "statements"]
    if review.get("passed"):
        parts.append("raters")
    if judge.get("passed"):
        parts.append(f"a judge ({judge['judge']['model']}, {judge['standing']})")
    return f"{', '.join(parts[:-1])} and {parts[-1]}; no entailment"
