"""The paper's table 4 beside our own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medsweep.digits import significant
from medsweep.report.numbers import MISSING
from medsweep.report.paper import TABLE_4, PaperResult
from medsweep.report.table import TableCell, TableRow, column, hidden, number
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.quality import QualityRow, quality_table
from medsweep.results.aggregate import Row

PAPER = "paper"


def named(row: Any) -> TableCell:
    """Return a cell with a row's model, and below it which model a stand-in resembles."""
    real = row.stands_in_for
    return TableCell(row.model, f"tiny stand-in with the architecture of {real}" if real else "")


def _figure(title: str, name: str) -> Any:
    """Declare a column with our figures, or the paper's with the decimals that it prints."""
    percent = name.endswith("_percent")

    def shown(row: PaperRow) -> TableCell:
        value: float | None = getattr(row, name)
        if value is None:
            missing = "not in the paper" if row.source == PAPER else "not graded"
            return TableCell(MISSING, title=missing, kind="number")
        if row.source != PAPER:
            printed = f"{value:.1f}" if percent else f"{value:.3f}"
        else:
            printed = f"{value:g}" if percent or value != round(value, 2) else f"{value:.2f}"
        return TableCell(printed, kind="number")

    return column(title, cell=shown)


def _response_time(row: PaperRow) -> TableCell:
    low, high = row.response_low_s, row.response_high_s
    if low is None or high is None or (low == high and row.source != PAPER):
        return number(low)
    if low == high:
        return TableCell(f"{low:.2f}", kind="number")
    return TableCell(f"{significant(low)} to {significant(high)}", kind="number")


@dataclass(frozen=True)
class PaperRow(TableRow):
    """One row: the paper's, or one of ours under its own name."""

    caption = "The paper's table 4, and our own figures under the name of the model measured"

    model: str = column("Model", cell=named)
    source: str = column("Source")  # "paper", or the basis of our figures
    stands_in_for: str | None = hidden()
    exact_match_percent: float | None = _figure("Exact match (%)", "exact_match_percent")
    # The paper's one column mixes exact matches and n-grams.
    ngram_match_percent: float | None = _figure("n-gram match (%)", "ngram_match_percent")
    bleu_max: float | None = _figure("BLEU, best answer", "bleu_max")
    rouge_max: float | None = _figure("ROUGE, best answer", "rouge_max")  # ours is ROUGE-L
    f1_max: float | None = _figure("F1, best answer", "f1_max")
    # Lowest and highest mean end-to-end time of our cells and load points.
    response_low_s: float | None = column("Response time (s)", cell=_response_time)
    response_high_s: float | None = hidden()


def paper_table_4(rows: Sequence[Row]) -> list[PaperRow]:
    """Return the paper's table 4 with our rows below each of its rows.

    Args:
        rows: of `benchmark.parquet`.

    Returns:
        Rows in the paper's order; our models that it does not have come last.
    """
    stands_in_for = {row["model"]: row["stands_in_for"] for row in rows}
    latencies = latency_table(rows)
    ours = [
        _ours(quality, stands_in_for[quality.model], latencies)
        for quality in quality_table(rows)
        if quality.variant == "adapter"
    ]
    table: list[PaperRow] = []
    for result in TABLE_4:
        table.append(_papers(result))
        table += [row for row in ours if result.model in (row.model, row.stands_in_for)]
    return table + [row for row in ours if row not in table]


def _papers(result: PaperResult) -> PaperRow:
    return PaperRow(
        model=result.model,
        source=PAPER,
        stands_in_for=None,
        exact_match_percent=result.exact_match_percent,
        ngram_match_percent=None,
        bleu_max=result.bleu_max,
        rouge_max=result.rouge_max,
        f1_max=result.f1_max,
        response_low_s=result.response_time_s,
        response_high_s=result.response_time_s,
    )


def _ours(
    quality: QualityRow, stands_in_for: str | None, latencies: Sequence[LatencyRow]
) -> PaperRow:
    times = [
        row.e2e.mean
        for row in latencies
        if (row.model, row.variant, row.basis) == (quality.model, quality.variant, quality.basis)
        and row.e2e is not None
    ]
    exact, ngram = (quality.figures.get(name) for name in ("exact_match", "ngram_match"))
    bleu, rouge, f1 = (quality.figures.get(name) for name in ("bleu", "rouge_l", "token_f1"))
    return PaperRow(
        model=quality.model,
        source=quality.basis,
        stands_in_for=stands_in_for,
        exact_match_percent=None if exact is None else 100 * exact.mean,
        ngram_match_percent=None if ngram is None else 100 * ngram.mean,
        bleu_max=None if bleu is None else bleu.max,
        rouge_max=None if rouge is None else rouge.max,
        f1_max=None if f1 is None else f1.max,
        response_low_s=min(times, default=None),
        response_high_s=max(times, default=None),
    )
