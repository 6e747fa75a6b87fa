"""The verdict at the top of the page: what to take, how sure that is, and what to measure next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.decide.candidates import Candidate, candidates
from medsweep.decide.curves import probability_curve
from medsweep.digits import significant
from medsweep.hardware.observe import HOST
from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import MISSING, seconds, share, share_spread
from medsweep.report.paired_tests import PairedTests
from medsweep.report.tables.grouping import (
    busiest_point,
    interval_over_questions,
    mean_interval,
    most_questions,
)
from medsweep.report.takeaways import HEADLINE_FIGURE
from medsweep.results.aggregate import (
    Row,
    group_by_columns,
    load_points,
    mean,
    ok_rows,
)


@dataclass(frozen=True)
class LimitField:
    """A field of the page that takes a limit.

    Attributes:
        words: what is limited.
        unit: in which it is given.
        per_unit: how many of it are one of the unit in which `recommend` decides.
    """

    words: str
    unit: str
    per_unit: int = 1


LIMITS = {
    "max-p95-ttft": LimitField("p95 of the time to first token, at most", "ms", per_unit=1000),
    "min-token-f1": LimitField("Token F1, at least", "from 0 to 1"),
    "max-usd-per-1k": LimitField("Price of 1,000 answers, at most", "USD"),
}
"""The limits that a reader can set on the page, by the option of `medsweep recommend`."""


@dataclass(frozen=True)
class Verdict:
    """What the page says first.

    Attributes:
        title: the choice, or that there is none yet.
        decided: whether there is one.
        facts: what is known of it.
        reasons: why it is chosen, or why nothing can be.
        next_steps: what to measure to know more.
    """

    title: str
    decided: bool
    facts: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


def verdict(rows: Sequence[Row], tests: PairedTests) -> Verdict:
    """Return the verdict: the best answers, then the shortest end-to-end time.

    Only real models that were measured on the hardware that their profile names can be chosen.

    Args:
        rows: of `benchmark.parquet`.
        tests: of `paired_tests`.
    """
    measured = ok_rows(rows)
    eligible = _eligible(measured)
    if not eligible:
        return _undecidable(measured)
    # Which model by its answers on all profiles, then which profile by time: quality that differs
    # between the profiles of one model is noise.
    models = sorted(group_by_columns(eligible, "model", "variant").values(), key=_by_quality)
    first, *slower = _by_time(models[0])
    rival = _by_time(models[1])[0] if len(models) > 1 else None
    certain, reason = (True, "") if rival is None else _evidence(first, rival, tests)
    reasons = [reason] if reason else []
    if slower and (second := _time(slower[0])) is not None:
        reasons.append(
            f"Of the profiles with this model it has the shortest mean end-to-end time: "
            f"{seconds(_time(first))}, against {seconds(second)} on "
            f"{slower[0][0]['profile']}."
        )
    repeats = len({row["repeat"] for row in first})
    steps = []
    if not certain:
        questions = max((row.get("questions") or 0) for row in first)
        steps.append(f"Ask more questions: {questions} do not tell the two apart.")
    if repeats < 3:
        fewer = f"{repeats} gives" if repeats == 1 else f"{repeats} give"
        steps.append(f"Measure 3 or more repeats: {fewer} no interval of times.")
    title = f"Take {_name(first)}." if certain else "It cannot be said yet."
    if rival is None and not slower:
        certain = False
        title = f"{_name(first)} is all that was measured: there is nothing to choose between."
    return Verdict(title, certain, tuple(_facts(first)), tuple(reasons), tuple(steps))


def options(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what can be chosen, with the probability of meeting each limit: data for the script.

    Args:
        rows: of `benchmark.parquet`.
    """
    return [_option(each) for each in candidates(_eligible(ok_rows(rows)))]


def _option(candidate: Candidate) -> dict[str, Any]:
    curves = {
        name: curve and [curve.bounds, curve.probabilities]
        for name in LIMITS
        for curve in (probability_curve(candidate, name),)
    }

    return {
        "configuration": candidate.name,
        "model": candidate.model,
        "profile": candidate.profile,
        "load": load_in_words(candidate.load_point),
        "limits": curves,
        "token_f1": candidate.mean("token_f1"),
        "e2e_s": candidate.speed("e2e_mean_s"),
        "requests_per_s": candidate.speed("requests_per_s"),
        "usd_per_hour": candidate.mean("usd_per_hour"),
        "shown": {
            "Token F1": share(interval_over_questions(candidate.rows, HEADLINE_FIGURE)),
            "p95 TTFT": seconds(candidate.speed("ttft_p95_s")),
            "Requests (1/s)": _number(candidate.speed("requests_per_s")),
            "USD per 1,000 answers": _number(candidate.mean("usd_per_1k")),
        },
    }


def _number(value: float | None) -> str:
    return MISSING if value is None else significant(value)


def _eligible(rows: Sequence[Row]) -> list[Row]:
    return [
        row
        for row in rows
        if row["basis"] == "observed" and not row["stands_in_for"] and row["load_point"] is not None
    ]


def _undecidable(rows: Sequence[Row]) -> Verdict:
    if not rows:
        return Verdict("Nothing can be decided here: nothing was measured.", decided=False)
    real = [row for row in rows if not row["stands_in_for"]]
    if not real:
        return Verdict(
            "Nothing can be decided here: only stand-ins were measured.",
            decided=False,
            reasons=(
                "A stand-in is a tiny model that shares only the architecture. The sweep shows "
                "that every step works, not how good or how fast a model is.",
            ),
            next_steps=("Run the sweep with stand_ins: false on the hardware in question.",),
        )
    return Verdict(
        "Nothing can be decided here: nothing was measured on the hardware that it names.",
        decided=False,
        reasons=("Times of an emulated profile are those of another machine.",),
        next_steps=("Run the sweep on that hardware, or model@host to measure this machine.",),
    )


def _by_time(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each profile, from the shortest time to the longest; unknown ones last."""
    profiles = [(_time(each), each) for each in group_by_columns(rows, "profile").values()]
    profiles.sort(key=lambda each: float("inf") if each[0] is None else each[0].mean)
    return [each for _, each in profiles]


def _time(rows: Sequence[Row]) -> Interval | None:
    """Return the mean end-to-end time at the lightest load point; None if it is not known."""
    lightest = load_points(rows)[0]
    at_lightest = [row for row in rows if row["load_point"] == lightest]
    return mean_interval(_of_server(at_lightest, "e2e_mean_s"), "e2e")


def _of_server(rows: Sequence[Row], column: str) -> list[Row]:
    """Return the rows in which a time or a rate is the server's: none if the client had a part.

    One repeat that the client limited sets all of its load point aside, as in `recommend`.
    """
    limited = any(row.get("client_limited") for row in rows)
    marked = [name for row in rows for name in (row.get("client_error_figures") or "").split(", ")]
    return [] if limited or column in marked else list(rows)


def _by_quality(rows: Sequence[Row]) -> float:
    found = _quality(rows)
    return 0.0 if found is None else -found.mean


def _quality(rows: Sequence[Row]) -> Interval | None:
    return interval_over_questions(most_questions(rows), HEADLINE_FIGURE)


def _name(rows: Sequence[Row]) -> str:
    row = rows[0]
    # What an unknown server answers with is its own affair.
    variant = {"adapter": ", fine-tuned,", "base": ", not fine-tuned,"}.get(row["variant"], "")
    machine = " (the machine that ran the sweep)" if row["profile"] == HOST else ""
    return f"{row['model']}{variant} on {row['profile']}{machine}"


def _evidence(first: Sequence[Row], rival: Sequence[Row], tests: PairedTests) -> tuple[bool, str]:
    """Return whether the better quality is beyond noise, and the sentence that says so."""
    ours, theirs = _quality(first), _quality(rival)
    if ours is None or theirs is None:
        return False, f"The answers of {_name(first if ours is None else rival)} were not graded."
    lead = f"Runner-up: {_name(rival)}, with a token F1 of {share(theirs)}"
    sides = [(rows[0]["model"], rows[0]["variant"]) for rows in (first, rival)]
    test = tests.get(("observed", sides[0], sides[1]))
    if test is not None:
        return test.is_better, f"{lead}. {test.sentence}"
    certain = ours.low is not None and theirs.high is not None and ours.low > theirs.high
    return certain, f"{lead}; the intervals {'do not ' if certain else ''}overlap."


def _facts(rows: Sequence[Row]) -> list[str]:
    facts = []
    quality = _quality(rows)
    if quality is not None:
        questions = max((row.get("questions") or 0) for row in rows)
        each = " in each repeat" if len(most_questions(rows)) > 1 else ""
        ends = f" [{share_spread(quality)}]" if quality.low is not None else ""
        facts.append(
            f"Token F1 {share(quality)}{ends} on {questions} questions{each} "
            "(1 is for answers with exactly the words of the references)"
        )
    point, rate = busiest_point(rows)
    at_busiest = [row for row in rows if row["load_point"] == point]
    load = load_in_words(str(point))
    p95 = mean(_of_server(at_busiest, "ttft_p95_s"), "ttft_p95_s")
    ttft = mean_interval(_of_server(at_busiest, "ttft_mean_s"), "ttft")
    if p95 is not None or ttft is not None:
        shown = f"p95 time to first token {seconds(p95)}"
        if p95 is None:
            shown = f"mean time to first token {seconds(ttft)}"
        facts.append(f"{shown} at {load}")
    if rate is not None and not _of_server(at_busiest, "requests_per_s"):
        facts.append(f"speed at {load} was limited by the client, not the server")
    elif rate is not None:
        facts.append(f"{significant(rate)} answers per second at {load}")
    price = mean(at_busiest, "usd_per_answer")
    facts.append(
        f"USD {significant(1000 * price)} per 1,000 answers"
        if price is not None
        else "no price: give yours under prices in the sweep file"
    )
    return facts
