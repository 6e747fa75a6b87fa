"""What the votes of one judge say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from medsweep.loadgen.address import public_url
from medsweep.metrics.raters import ranking
from medsweep.results.aggregate import group_by
from medsweep.review.judge import Judge
from medsweep.review.ratings import (
    Ratings,
    agreement,
    by_digest,
    medians,
    passed,
    passed_systems,
    question_share,
    rated_systems,
)
from medsweep.review.replies import NEITHER
from medsweep.review.sheet import Sheet
from medsweep.review.votes import Vote

_TOKENS_PRICED = 1_000_000


def judged(
    judge: Judge,
    sheet: Sheet,
    votes: Sequence[Vote],
    *,
    seed: int,
    usd_per_million: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the summary of a judge's votes, for `review.judges.update_judges`.

    Args:
        judge: whose they are.
        sheet: the answers.
        votes: on these answers; failed ones are counted with their reasons.
        seed: of the bootstraps.
        usd_per_million: price of 1,000,000 tokens of prompts and of replies; None if not known.
    """
    axes = judge.rubric.axes
    ratings: Ratings = {}
    for vote in votes:
        if vote["kind"] == "rate" and vote["status"] == "ok":
            ratings.setdefault(f"vote {vote['vote']}", {})[vote["items"][0]] = vote["ratings"]
    verdicts = passed(ratings, judge.rubric)
    names = [axis.name for axis in axes]
    failed = [vote for vote in votes if vote["status"] != "ok"]
    kinds = sorted({str(vote["kind"]) for vote in votes})
    by_kind = {kind: [vote for vote in votes if vote["kind"] == kind] for kind in kinds}
    compared = by_kind.get("compare", [])
    return {
        "judge": {"url": public_url(judge.url), **judge.identity, "votes": judge.votes},
        "questions": len({each["question_id"] for each in sheet.key.values()}),
        "answers": len(sheet.items),
        "votes": len(votes),
        "failed": len(failed),
        "failures": dict(Counter(str(vote["reason"]) for vote in failed)),
        "usable": {kind: _usable(each) for kind, each in by_kind.items()},
        "axes": names,
        "options": {axis.name: list(axis.options) for axis in axes},
        "ratings": by_digest(medians(ratings, axes), sheet.key),
        "between_votes": agreement(ratings, names, seed) if judge.votes > 1 else None,
        "systems": rated_systems(ratings, sheet.key, axes, seed),
        "passes": passed_systems(verdicts, sheet.key, seed),
        "passed": by_digest(verdicts, sheet.key),
        "comparison": _comparison(compared, sheet, seed) if compared else None,
        **_cost(votes, usd_per_million),
    }


def _usable(votes: Sequence[Vote]) -> dict[str, int]:
    """Return how many votes had a reply that can be used, at once or when asked again."""
    usable = [vote for vote in votes if vote["status"] == "ok"]
    at_once = sum(len(vote["replies"]) == 1 for vote in usable)
    return {"votes": len(votes), "at_once": at_once, "asked_again": len(usable) - at_once}


def _comparison(votes: Sequence[Vote], sheet: Sheet, seed: int) -> dict[str, Any]:
    """Return what the judge prefers, and how much it minds which answer comes first."""
    pairs = group_by(votes, lambda vote: (vote["vote"], frozenset(vote["items"])))
    first: dict[str, list[float]] = {}
    same: dict[str, list[float]] = {}
    scores: dict[str, list[dict[str, float]]] = {}
    for orders in pairs.values():
        usable = [vote for vote in orders if vote["status"] == "ok"]
        question = sheet.key[orders[0]["items"][0]]["question_id"]
        for vote in usable:
            if vote["better"] != NEITHER:
                first.setdefault(question, []).append(float(vote["better"] == "A"))
        if len(usable) < 2:
            continue
        one, two = (_preferred(vote) for vote in usable)
        same.setdefault(question, []).append(float(one == two))
        scores.setdefault(question, []).extend(
            _scored(orders[0]["items"], one if one == two else None, sheet)
        )
    return {
        "pairs": len(pairs),
        "first_preferred": question_share(first, seed) if first else None,
        "same_in_both_orders": question_share(same, seed) if same else None,
        "ranking": [asdict(rank) for rank in ranking(scores)],
    }


def _preferred(vote: Mapping[str, Any]) -> str | None:
    """Return the id of the answer that a vote prefers; None for neither."""
    places = {"A": 0, "B": 1}
    return str(vote["items"][places[vote["better"]]]) if vote["better"] in places else None


def _scored(items: Sequence[str], preferred: str | None, sheet: Sheet) -> list[dict[str, float]]:
    """Return the scores of the systems of two answers, each pair of systems once."""
    one, two = items
    values = {one: 0.5, two: 0.5}
    if preferred is not None:
        values = {each: float(each == preferred) for each in items}
    return [
        {first: values[one], second: values[two]}
        for first, second in product(sheet.key[one]["systems"], sheet.key[two]["systems"])
    ]


def _cost(votes: Sequence[Vote], usd_per_million: Sequence[float] | None) -> dict[str, Any]:
    """Return time, tokens and price of the replies; null where the server does not count tokens."""
    replies = [reply for vote in votes for reply in vote["replies"]]
    seconds = [reply["seconds"] for reply in replies]
    tokens: dict[str, int | None] = {}
    for name in ("prompt_tokens", "output_tokens"):
        counts = [reply[name] for reply in replies]
        tokens[name] = None if None in counts else sum(counts)
    prompt, output = tokens.values()
    usd = None
    if usd_per_million is not None and prompt is not None and output is not None:
        usd = (prompt * usd_per_million[0] + output * usd_per_million[1]) / _TOKENS_PRICED
    return {
        "replies": len(replies),
        "reply_mean_s": sum(seconds) / len(seconds) if seconds else None,
        "reply_max_s": max(seconds, default=None),
        **tokens,
        "usd": usd,
    }
