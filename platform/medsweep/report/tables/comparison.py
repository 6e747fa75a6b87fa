"""Base model against fine-tuned model, in pairs over the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medsweep.metrics.significance import ALPHA, holm
from medsweep.metrics.statistics import PairedDifference, paired_bootstrap
from medsweep.report.tables.grouping import model_order
from medsweep.results.aggregate import Row, basis_order, distinct, group_by, ok_rows
from medsweep.results.schema import QUALITIES

SEED = 0
"""Of the bootstrap: a report made twice says the same."""


@dataclass(frozen=True)
class PairedRow:
    """One quality figure of one model, without and with its adapter.

    Attributes:
        model: name.
        basis: observed, emulated or predicted.
        cells: cells whose answers are compared.
        figure: name in `schema.QUALITIES`.
        base: mean over questions of the base model.
        tuned: mean over the same questions of the fine-tuned model.
        difference: tuned minus base, over questions.
        p_adjusted: its p-value after Holm's correction over all rows; None with one question.
    """

    model: str
    basis: str
    cells: int
    figure: str
    base: float
    tuned: float
    difference: PairedDifference
    p_adjusted: float | None = None

    @property
    def verdict(self) -> str:
        """What may be said: higher, lower or "no clear difference"."""
        if self.p_adjusted is None or self.p_adjusted > ALPHA:
            return "no clear difference"
        return "higher" if self.difference.mean > 0 else "lower"


def base_against_tuned(
    rows: Sequence[Row], responses: Mapping[str, Sequence[Row]]
) -> list[PairedRow]:
    """Compare each model with and without its adapter.

    A question is one pair: its answers (of several repeats and cells) are averaged first, because
    they are not independent. Only cells and load points at which both variants were asked count.

    Args:
        rows: of `benchmark.parquet`.
        responses: scores of answers by cell key, of single ones or of means.

    Returns:
        Rows by model, basis and figure; none for a model that lacks either variant.
    """
    table: list[PairedRow] = []
    groups = group_by(ok_rows(rows), lambda row: (str(row["model"]), str(row["basis"])))
    order = sorted(groups, key=lambda group: (model_order(group[0]), basis_order(group[1])))
    for model, basis in order:
        answers = [
            found
            for key in distinct(groups[model, basis], "key")
            if (found := _comparable(responses.get(key, ())))
        ]
        pooled = [answer for found in answers for answer in found]
        for figure in QUALITIES:
            base, tuned = (_by_question(pooled, variant, figure) for variant in ("base", "adapter"))
            shared = [question for question in base if question in tuned]
            if not shared:
                continue
            before = [base[question] for question in shared]
            after = [tuned[question] for question in shared]
            table.append(
                PairedRow(
                    model=model,
                    basis=basis,
                    cells=len(answers),
                    figure=figure,
                    base=sum(before) / len(before),
                    tuned=sum(after) / len(after),
                    difference=paired_bootstrap(before, after, seed=SEED),
                )
            )
    return _corrected(table)


def _corrected(table: Sequence[PairedRow]) -> list[PairedRow]:
    # A figure that is the same in every pair could only have a p-value of 1, and would cost power.
    tested = [row for row in table if row.difference.changed and row.difference.p_value is not None]
    adjusted = iter(holm([row.difference.p_value or 0.0 for row in tested]))
    return [replace(row, p_adjusted=next(adjusted)) if row in tested else row for row in table]


def _comparable(answers: Sequence[Row]) -> list[Row]:
    """Return one cell's answers at the load points where both variants were asked."""
    points = [
        {answer["load_point"] for answer in answers if answer["variant"] == variant}
        for variant in ("base", "adapter")
    ]
    return [answer for answer in answers if answer["load_point"] in points[0] & points[1]]


def _by_question(answers: Sequence[Row], variant: str, figure: str) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for answer in answers:
        if answer["variant"] == variant and answer[figure] is not None:
            scores.setdefault(answer["question_id"], []).append(answer[figure])
    return {question: sum(found) / len(found) for question, found in scores.items()}
