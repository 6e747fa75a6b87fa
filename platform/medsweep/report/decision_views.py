"""The tables that a decision is made from, from their figures to their texts."""

from __future__ import annotations

from collections.abc import Sequence

from medsweep.report.tables import BoundRow, CostRow, DecisionRow, RooflineRow
from medsweep.report.view import Cell, View, headings, interval, number, prose, quality, text

NO_PRICE = "no price for this profile, or not the hardware that it is for"


def decision_view(table: Sequence[DecisionRow]) -> View:
    """Return what there is to choose between, the best trade-offs marked."""
    return View(
        "Every configuration: quality, end-to-end time at the lightest load point, throughput and "
        "price at the busiest. A trade-off is best when nothing of its basis is better, faster "
        "and, where all have a price, cheaper",
        headings(
            "Model",
            "Profile",
            "Basis",
            "Best trade-off",
            "Token F1",
            "E2E mean (s)",
            "Requests (1/s)",
            "USD per 1,000 answers",
        ),
        tuple(
            (
                text(row.model),
                text(row.profile),
                text(row.basis),
                Cell("yes" if row.on_front else ""),
                quality(row.token_f1),
                interval(row.e2e),
                Cell(
                    number(row.requests_per_s).text,
                    note=f"at {row.busiest}" if row.busiest else "",
                    kind="number",
                ),
                number(row.usd_per_1k, NO_PRICE),
            )
            for row in table
        ),
        labels=2,
    )


def cost_view(table: Sequence[CostRow]) -> View:
    """Return what answers cost."""
    return View(
        "Cost at the load point with most answers a second. Prices count for observed hardware "
        "alone; a correct answer has a token F1 of at least 0.5",
        headings(
            "Model",
            "Profile",
            "Basis",
            "Load point",
            "USD per hour",
            "Price from",
            "Requests (1/s)",
            "USD per 1,000 answers",
            "USD per 1,000 correct answers",
            "Energy per 1,000 answers (J)",
        ),
        tuple(
            (
                text(row.model),
                text(row.profile),
                text(row.basis),
                text(row.load_point),
                number(row.usd_per_hour, "no price for this profile"),
                text(row.price, "no price for this profile"),
                number(row.requests_per_s),
                number(row.usd_per_1k, NO_PRICE),
                number(row.usd_per_1k_correct, NO_PRICE),
                number(row.energy_j_per_1k, "no sensor, or not the hardware that it is for"),
            )
            for row in table
        ),
        labels=2,
    )


def bound_view(table: Sequence[BoundRow]) -> View:
    """Return what bound each load point, with the figures that say so."""
    return View(
        "What would have to be faster for the whole to be faster, and the figures that say so",
        headings("Model", "Profile", "Load point", "Basis", "Bound by", "Repeats", "Evidence"),
        tuple(
            (
                text(row.model),
                text(row.profile),
                text(row.load_point),
                text(row.basis),
                text(row.bound),
                Cell(f"{row.agreeing} of {row.repeats}", kind="number"),
                prose(row.evidence),
            )
            for row in table
        ),
        labels=3,
    )


def roofline_view(table: Sequence[RooflineRow]) -> View:
    """Return measured times beside those that the hardware allows."""
    return View(
        "Time per output token, measured and as the roofline of the hardware allows at best",
        headings(
            "Model",
            "Profile",
            "Load point",
            "TPOT measured (s)",
            "TPOT of the roofline (s)",
            "Factor",
            "Bound by, at best",
            "Likely reason",
        ),
        tuple(
            (
                text(row.model),
                text(row.profile),
                text(row.load_point),
                number(row.tpot_s),
                number(row.predicted_tpot_s),
                number(row.factor),
                text(row.bound),
                prose(row.reason),
            )
            for row in table
        ),
        labels=3,
    )
