"""Verified answers, where raters or a judge were asked too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsweep.metrics.cost import cost_columns
from medsweep.metrics.verified import RULES, passes_rules, verified_by
from medsweep.results.aggregate import Row, group_by_columns
from medsweep.results.reader import judges_by_name
from medsweep.results.store import read_json, read_rows
from medsweep.review.judges import JUDGE, counted_judge
from medsweep.review.ratings import REVIEW, question_share
from medsweep.review.sheet import answer_digest

_MEASUREMENT = ("load_point", "repeat", "variant")
_SHARE = ("verified_share", "verified_share_low", "verified_share_high")
_PRICES = ("usd_per_verified_answer", "usd_per_verified_answer_low", "usd_per_verified_answer_high")
_SEED = 0


def verified_rows(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Return rows whose verified answers were passed by raters, or by a judge, too.

    An answer is verified if it passes the rules (`metrics.verified`) and its raters, or else the
    judge that counts (`review.judges`), passed it. Then only answers that were rated count; raters
    overrule the judge. Where nobody counts, the rules decide. The same text given in another repeat
    or cell is the same answer.

    Args:
        folder: of the results, with `review.json` or `judge.json`; without either the rows stay.
        rows: of `benchmark.parquet`.
    """
    judges = judges_by_name(read_json(folder / JUDGE) or {})
    by_raters = (read_json(folder / REVIEW) or {}).get("passed", {})
    if not judges and not by_raters:
        return list(rows)
    counted = counted_judge(judges)
    passed = {**(judges[counted]["passed"] if counted is not None else {}), **by_raters}
    opinions = [name for name in judges if name != counted]
    answers: dict[tuple[Any, ...], list[Row]] = {}
    for key in dict.fromkeys(row["key"] for row in rows):
        path = folder / "cells" / str(key) / "responses.parquet"
        if path.is_file():
            for group, each in group_by_columns(read_rows(path), *_MEASUREMENT).items():
                answers[key, *group] = each
    verified = []
    for row in rows:
        given = answers.get((row["key"], *(row.get(name) for name in _MEASUREMENT)))
        if given is None:
            verified.append(row)
            continue
        by = verified_by(
            row.get("claims_by"), raters=bool(by_raters), judge=counted, opinions=opinions
        )
        verified.append(_verified(row, given, passed, by))
    return verified


def _verified(row: Row, answers: Sequence[Row], passed: Mapping[str, bool], by: str) -> Row:
    right = passes_rules(*([answer.get(name) for answer in answers] for name in RULES))
    by_question: dict[str, list[float]] = {}
    for answer, by_rules in zip(answers, right, strict=True):
        if (verdict := _verdict(answer, passed)) is not None:
            by_question.setdefault(answer["question_id"], []).append(float(by_rules and verdict))
    columns: dict[str, Any] = dict.fromkeys((*_SHARE, *_PRICES))
    columns["verified_by"] = by
    if by_question:
        share = question_share(by_question, _SEED)
        values = share["share"], share["low"], share["high"]
        columns |= dict(zip(_SHARE, values, strict=True))
    elif passed:
        columns["verified_by"] = f"{by}; none of these answers was rated"
    else:
        columns["verified_by"] = f"{by}; no reference has a quantity"
    changed = {**row, **columns}
    return changed | cost_columns(changed)


def _verdict(answer: Row, passed: Mapping[str, bool]) -> bool | None:
    """Return whether raters or the judge passed an answer; None if it does not count."""
    if not passed:  # the rules decide, on the references that have quantities
        return None if answer.get("quantity_agreement") is None else True
    if None in (answer.get("question"), answer.get("answer")):
        return None
    return passed.get(answer_digest(answer["question"], answer["answer"]))
