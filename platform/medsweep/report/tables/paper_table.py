"""The paper's table 4 beside our own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.report.paper import KNOWN_INCONSISTENCIES, TABLE_4, PaperResult
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.quality import QualityRow, quality_table
from medsweep.results.aggregate import Row

PAPER = "paper"


@dataclass(frozen=True)
class PaperRow:
    """One row: the paper's, or one of ours under its own name.

    Attributes:
        model: name; a stand-in's own, never that of the model whose architecture it has.
        source: "paper", or the basis of our figures (observed, emulated, predicted).
        stands_in_for: the model whose architecture a stand-in has; None for a real model.
        exact_match_percent: share of whole answers; the paper's column as it is printed.
        ngram_match_percent: share of n-grams; None for the paper, whose one column mixes both.
        bleu_max: best single answer, 0 to 1.
        rouge_max: best single answer, 0 to 1; ours is ROUGE-L.
        f1_max: best single answer, 0 to 1.
        response_low_s: lowest mean end-to-end time of a cell and load point, in seconds.
        response_high_s: highest, in seconds; the same as the lowest for the paper.
    """

    model: str
    source: str
    stands_in_for: str | None
    exact_match_percent: float | None
    ngram_match_percent: float | None
    bleu_max: float | None
    rouge_max: float | None
    f1_max: float | None
    response_low_s: float | None
    response_high_s: float | None


@dataclass(frozen=True)
class PaperComparison:
    """The paper's table 4 with ours below each of its rows, and what is wrong with it.

    Attributes:
        rows: in the paper's order; our models that it does not have come last.
        inconsistencies: of the paper, one sentence each.
    """

    rows: tuple[PaperRow, ...]
    inconsistencies: tuple[str, ...]


def paper_table_4(rows: Sequence[Row]) -> PaperComparison:
    """Return the paper's table 4 beside ours.

    Args:
        rows: of `benchmark.parquet`.
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
    table += [row for row in ours if row not in table]
    return PaperComparison(tuple(table), KNOWN_INCONSISTENCIES)


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
