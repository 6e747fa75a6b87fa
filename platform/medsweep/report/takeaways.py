"""Takeaways: a few sentences computed from the tables, each with its basis."""

from __future__ import annotations

from collections.abc import Sequence

from medsweep.comparison.answers import SCORE
from medsweep.comparison.engines import engine_difference
from medsweep.loadgen.spec import load_in_words
from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import (
    seconds_with_spread,
    share,
    share_places,
    share_spread,
    signed,
)
from medsweep.report.paired_tests import PairedTests, Side
from medsweep.report.tables.grouping import without_repeated_answers
from medsweep.report.tables.latency import latency_table
from medsweep.report.tables.paired import PairedRow, without_repeated_pairs
from medsweep.report.tables.quality import quality_table
from medsweep.results.aggregate import BASES, Row, headline_rows, load_points, ok_rows

HEADLINE_FIGURE = SCORE


def take_away(rows: Sequence[Row], paired: Sequence[PairedRow], tests: PairedTests) -> list[str]:
    """Return the sentences: that engines differ, then those of each basis, observed ones first.

    Like the tables, they leave out emulated answers of a model that was observed, too.

    Args:
        rows: of `benchmark.parquet`.
        paired: of `base_against_tuned`.
        tests: of `paired_tests`.
    """
    engines = {row["cell"]: row["engine"] for row in ok_rows(rows) if not row["server_url"]}
    difference = engine_difference(engines)
    sentences = [] if difference is None else [difference]
    graded, shown = without_repeated_answers(rows), without_repeated_pairs(paired)
    for basis in BASES:
        sentences += _best_quality([row for row in graded if row["basis"] == basis], basis, tests)
        sentences += _fastest([row for row in rows if row["basis"] == basis], basis)
        sentences += tuning_effects([row for row in shown if row.basis == basis])
    return sentences or ["Nothing was measured, so there are no takeaways."]


def tuning_effects(paired: Sequence[PairedRow]) -> list[str]:
    """Return a sentence for each model that was asked with and without its adapter."""
    return [_effect(row) for row in paired if row.figure == HEADLINE_FIGURE]


def _best_quality(rows: Sequence[Row], basis: str, tests: PairedTests) -> list[str]:
    table = [
        (row.figures[HEADLINE_FIGURE], (row.model, row.variant))
        for row in quality_table(rows)
        if HEADLINE_FIGURE in row.figures
    ]
    if not table:
        return []
    table.sort(key=lambda entry: -entry[0].mean)
    (best, first), *rest = table
    untested, close = [], []
    for figure, second in rest:
        test = tests.get((basis, first, second))
        if test is None:
            untested.append((_name(second), figure.high))
        elif not test.is_better:
            close.append(_name(second))
    paired = "On the same questions it is not clearly better than {}"
    doubt = _uncertain([_subject(close, paired, paired)])
    doubt += _doubt(best.low, untested, sign=1)
    return [
        f"Best token F1 ({basis}): {_name(first)}, {share(best)}"
        f"{_interval(share_spread(best))}.{doubt}"
    ]


def _name(side: Side) -> str:
    model, variant = side
    return f"{model} ({variant})"


def _fastest(rows: Sequence[Row], basis: str) -> list[str]:
    measured = headline_rows(rows)
    points = load_points(measured)
    table: list[tuple[Interval, str]] = [
        (row.e2e, f"{row.model} on {row.profile}")
        for row in latency_table(measured)
        if points and row.load_point == points[0] and row.e2e is not None
    ]
    if not table:
        return []
    table.sort(key=lambda entry: entry[0].mean)
    best, name = table[0]
    doubt = _doubt(best.high, [(other, time.low) for time, other in table[1:]], sign=-1)
    machine = (
        " It was measured on another machine, not on the hardware that the profile names."
        if basis == "emulated"
        else ""
    )
    return [
        f"Shortest mean end-to-end time at {load_in_words(points[0])} ({basis}): {name}, "
        f"{seconds_with_spread(best)}.{doubt}{machine}"
    ]


def _effect(row: PairedRow) -> str:
    difference, places = row.difference, share_places(row.difference)
    change = {
        "higher": "is higher after fine-tuning",
        "lower": "is lower after fine-tuning",
        "no clear difference": "does not clearly differ after fine-tuning",
        "too few questions": "after fine-tuning, on too few questions to tell a difference",
    }[row.verdict]
    return (
        f"{row.model} ({row.basis}): token F1 {change}: from {share(row.base, places)} to "
        f"{share(row.tuned, places)}, {signed(difference.mean, places)}"
        f"{_interval(share_spread(difference))} "
        f"over {difference.pairs} questions."
    )


def _doubt(edge: float | None, others: Sequence[tuple[str, float | None]], *, sign: int) -> str:
    """Return the sentence about those that may be as good as the best.

    Args:
        edge: the worse end of the best one's interval; None without an interval.
        others: name and better end of each other's interval; None without one.
        sign: 1 if more is better, -1 if less is.
    """
    if not others:
        return ""
    if edge is None:
        return " It has no interval, so whether others are as good is unknown."
    unknown = [name for name, end in others if end is None]
    close = [name for name, end in others if end is not None and sign * (end - edge) >= 0]
    reasons = [_subject(close, "The interval of {} overlaps it", "The intervals of {} overlap it")]
    reasons += [_subject(unknown, "{} has no interval", "{} have no interval")]
    return _uncertain(reasons)


def _uncertain(reasons: Sequence[str]) -> str:
    return "".join(f" {each}, so their order is uncertain." for each in reasons if each)


def _subject(names: Sequence[str], one: str, several: str) -> str:
    if not names:
        return ""
    return one.format(names[0]) if len(names) == 1 else several.format(f"{len(names)} others")


def _interval(text: str) -> str:
    return f" [{text}]" if text else ""
