"""Base model against fine-tuned model, in pairs over the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medsweep.metrics.resampling import FEWEST_PAIRS, PairedDifference, paired_difference
from medsweep.metrics.significance import ALPHA, holm
from medsweep.report.table import (
    Column,
    TableCell,
    TableRow,
    column,
    columns,
    difference,
    fraction,
    hidden,
    limits,
    p_value,
    part_of,
    text,
)
from medsweep.report.tables.grouping import model_order
from medsweep.report.tables.quality import NAMES
from medsweep.results.aggregate import (
    Row,
    average,
    basis_order,
    distinct,
    group_by,
    group_by_columns,
    mean,
    ok_rows,
)

SEED = 0
"""Of the draws: a report that is made twice is the same."""

FIGURES = {
    **NAMES,
    "verified": "Verified by rules",
    "truncated": "Truncated answers",
    "refused": "Refusals",
}

NO_P_VALUE = f"none that changed, or under {FEWEST_PAIRS} questions, has no p value"


@dataclass(frozen=True)
class PairedRow(TableRow):
    """One quality figure of one model, without and with its adapter, on the same questions."""

    caption = (
        "Fine-tuned minus base on the same questions: sign flips over questions, the answers "
        "to one question averaged first. p values are corrected for the tests of one basis (Holm)"
    )
    labels = 2

    model: str = column("Model")
    figure: str = column("Figure", cell=lambda row: text(FIGURES[row.figure]))
    basis: str = column("Basis")
    cells: int = hidden()
    base: float = column("Base", cell=lambda row: fraction(row.base, beside=row.difference))
    tuned: float = column("Fine-tuned", cell=lambda row: fraction(row.tuned, beside=row.difference))
    difference: PairedDifference = columns(
        Column("Difference", lambda row: difference(row.difference)),
        Column("95 % interval", lambda row: limits(row.difference, "too few questions")),
    )
    p_adjusted: float | None = columns(
        Column("p value", lambda row: p_value(row.p_adjusted, NO_P_VALUE)),
        Column(
            "Changed / questions",
            lambda row: part_of(row.difference.changed, row.difference.pairs),
        ),
        Column("Verdict", lambda row: TableCell(row.verdict, kind="phrase")),
    )

    @property
    def verdict(self) -> str:
        """Higher, lower, "no clear difference", or that there are too few questions to tell."""
        if self.difference.pairs < FEWEST_PAIRS:
            return "too few questions"
        if self.p_adjusted is None or self.p_adjusted > ALPHA:
            return "no clear difference"
        return "higher" if self.difference.mean > 0 else "lower"


def base_against_tuned(
    rows: Sequence[Row], responses: Mapping[str, Sequence[Row]]
) -> list[PairedRow]:
    """Compare each model with and without its adapter.

    A question is one pair: its answers (of several repeats and cells) are averaged first, because
    they are not independent. Only cells and load points where both variants were measured count.

    Args:
        rows: of `benchmark.parquet`.
        responses: scores of answers by cell key, of single ones or of means, and where known
            `ANSWER_SHARES`.

    Returns:
        Rows by model, basis and figure; none for a model that lacks either variant.
    """
    table: list[PairedRow] = []
    groups = group_by_columns(ok_rows(rows), "model", "basis")
    order = sorted(groups, key=lambda group: (model_order(group[0]), basis_order(group[1])))
    for model, basis in order:
        cells = [
            answers
            for key in distinct(groups[model, basis], "key")
            if (answers := _comparable(responses.get(key, ())))
        ]
        pooled = [answer for answers in cells for answer in answers]
        for figure in FIGURES:
            base, tuned = (_by_question(pooled, variant, figure) for variant in ("base", "adapter"))
            shared = [question for question in base if question in tuned]
            if not shared:
                continue
            before = [base[question] for question in shared]
            after = [tuned[question] for question in shared]
            table.append(
                PairedRow(
                    model=model,
                    figure=figure,
                    basis=basis,
                    cells=len(cells),
                    base=average(before),
                    tuned=average(after),
                    difference=paired_difference(before, after, seed=SEED),
                    p_adjusted=None,
                )
            )
    return _corrected(table)


def without_repeated_pairs(table: Sequence[PairedRow]) -> list[PairedRow]:
    """Return the rows without emulated ones of a model whose answers were observed, too."""
    observed = {(row.model, row.figure) for row in table if row.basis == "observed"}
    return [
        row for row in table if row.basis != "emulated" or (row.model, row.figure) not in observed
    ]


def _corrected(table: Sequence[PairedRow]) -> list[PairedRow]:
    """Return the rows with Holm's correction over those of one basis that were tested."""
    adjusted: dict[tuple[str, str, str], float] = {}
    for basis in {row.basis for row in table}:
        # A figure that is the same in every pair could only have a p-value of 1: it costs power.
        tested = {
            (row.model, row.basis, row.figure): p_value
            for row in table
            if row.basis == basis
            and row.difference.changed
            and (p_value := row.difference.p_value) is not None
        }
        adjusted |= dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        replace(row, p_adjusted=adjusted.get((row.model, row.basis, row.figure))) for row in table
    ]


def _comparable(answers: Sequence[Row]) -> list[Row]:
    """Return one cell's answers at the load points where both variants were measured."""
    points = [
        {answer["load_point"] for answer in answers if answer["variant"] == variant}
        for variant in ("base", "adapter")
    ]
    return [answer for answer in answers if answer["load_point"] in points[0] & points[1]]


def _by_question(answers: Sequence[Row], variant: str, figure: str) -> dict[str, float]:
    of_variant = [answer for answer in answers if answer["variant"] == variant]
    questions = group_by(of_variant, lambda answer: str(answer["question_id"]))
    return {
        question: score
        for question, group in questions.items()
        if (score := mean(group, figure)) is not None
    }
