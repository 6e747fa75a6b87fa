"""The tables of figures that the page shows, from the tables' figures to their texts."""

from __future__ import annotations

from collections.abc import Sequence

from medsweep.comparison.finding import Finding
from medsweep.report.numbers import MISSING, bounds, seconds, share, signed
from medsweep.report.tables import (
    LatencyRow,
    Matrix,
    MatrixCell,
    PairedRow,
    QualityRow,
)
from medsweep.report.view import (
    Cell,
    Heading,
    View,
    count,
    fraction,
    headings,
    interval,
    number,
    quality,
    text,
)
from medsweep.results.schema import BENCHMARK, QUALITIES

_MEANINGS = {column.name: column.meaning for column in BENCHMARK}
NAMES = {
    "exact_match": "Exact match",
    "ngram_match": "n-gram match",
    "bleu": "BLEU",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "token_f1": "Token F1",
}


def _column(text: str, column: str) -> Heading:
    return Heading(text, _MEANINGS[column])


def matrix_view(table: Matrix) -> View:
    """Return the matrix: profiles down, models across."""
    return View(
        "State of every cell, with token F1; mean time to first text at the lightest load point",
        headings("Hardware profile", *table.models),
        tuple(
            (text(profile), *(_state(table.at(profile, model)) for model in table.models))
            for profile in table.profiles
        ),
    )


def _state(cell: MatrixCell) -> Cell:
    kind = f"state {cell.state.split()[0]}"
    if cell.state != "ok":
        return Cell(cell.state, title=cell.reason or "", kind=kind)
    figures = f"F1 {share(cell.token_f1)} · TTFT {seconds(cell.ttft_s)}"
    return Cell(f"ok, {cell.basis}", note=figures, kind=kind)


def latency_view(table: Sequence[LatencyRow]) -> View:
    """Return latency and throughput, one row per cell, load point and variant."""
    return View(
        "Latency and throughput: means over repeats, with 95 % intervals over repeats below. "
        "Percentiles need enough requests behind them (64 for p90) and are missing without",
        (
            *headings("Model", "Profile", "Load point", "Variant", "Basis", "Repeats"),
            _column("TTFT mean (s)", "ttft_mean_s"),
            _column("TTFT p50 (s)", "ttft_p50_s"),
            _column("TTFT p90 (s)", "ttft_p90_s"),
            _column("TPOT mean (s)", "tpot_mean_s"),
            _column("E2E mean (s)", "e2e_mean_s"),
            _column("E2E p50 (s)", "e2e_p50_s"),
            _column("E2E p90 (s)", "e2e_p90_s"),
            _column("Requests (1/s)", "requests_per_s"),
            _column("Output tokens (1/s)", "output_tokens_per_s"),
            _column("Failed / sent", "failed"),
            _column("Client bias of TTFT (s)", "client_ttft_bias_s"),
            _column("Framework's TTFT (s)", "overhead_ttft_s"),
        ),
        tuple(
            (
                text(row.model),
                text(row.profile),
                Cell(row.load_point, note="client-limited" if row.client_limited else ""),
                text(row.variant),
                text(row.basis),
                count(row.repeats),
                interval(row.ttft),
                number(row.ttft_p50_s),
                number(row.ttft_p90_s),
                interval(row.tpot),
                interval(row.e2e),
                number(row.e2e_p50_s),
                number(row.e2e_p90_s),
                number(row.requests_per_s),
                number(row.output_tokens_per_s),
                Cell(f"{row.failed:,} / {row.sent:,}", kind="number"),
                number(row.client_ttft_bias_s, "the client was not calibrated"),
                number(row.overhead_ttft_s, "no null model was measured"),
            )
            for row in table
        ),
        labels=3,
    )


def quality_view(table: Sequence[QualityRow]) -> View:
    """Return the quality figures, one row per model, variant and basis."""
    return View(
        "Quality of the answers, 0 to 1: mean over questions, below it the 95 % interval and the "
        "best single answer. One row of each cell is taken and the cells are averaged: the same "
        "adapter answers nearly the same in all of them",
        (
            *headings("Model", "Variant", "Basis", "Cells", "Questions"),
            *(_column(name, column) for column, name in NAMES.items()),
            _column("Corpus BLEU", "corpus_bleu"),
        ),
        tuple(
            (
                text(row.model),
                text(row.variant),
                text(row.basis),
                count(row.cells),
                count(row.questions),
                *(quality(row.figures.get(name)) for name in QUALITIES),
                fraction(row.corpus_bleu),
            )
            for row in table
        ),
        labels=2,
    )


def paired_view(table: Sequence[PairedRow]) -> View:
    """Return base against fine-tuned, one row per model and quality figure."""
    return View(
        "Fine-tuned minus base on the same questions: paired bootstrap over questions, the answers "
        "of one question averaged first. p values are corrected for their number (Holm)",
        headings(
            "Model",
            "Figure",
            "Basis",
            "Base",
            "Fine-tuned",
            "Difference",
            "95 % interval",
            "p value",
            "Changed / questions",
            "Verdict",
        ),
        tuple(
            (
                text(row.model),
                text(NAMES[row.figure]),
                text(row.basis),
                fraction(row.base),
                fraction(row.tuned),
                Cell(signed(row.difference.mean), kind="number"),
                _bounds(row.difference.low, row.difference.high),
                number(row.p_adjusted, "one question, or none that changed, has no p value"),
                Cell(f"{row.difference.changed} / {row.difference.pairs}", kind="number"),
                text(row.verdict),
            )
            for row in table
        ),
        labels=2,
    )


def models_view(table: Sequence[Finding]) -> View:
    """Return models against each other, one row a pair and figure."""
    return View(
        "Models against each other on the same questions: token F1 by paired bootstrap, exact "
        "match by McNemar's test. p values are corrected for their number (Holm)",
        headings(
            "Models",
            "Figure",
            "The former's",
            "The latter's",
            "Difference",
            "95 % interval",
            "p value",
            "Changed / questions",
            "Verdict",
        ),
        tuple(
            (
                text(row.subject),
                text(NAMES[row.figure]),
                fraction(row.after),
                fraction(row.before),
                Cell(signed(row.after - row.before), kind="number"),
                _bounds(row.low, row.high, "no interval for this test"),
                number(row.p_adjusted, row.test),
                Cell(f"{row.changed} / {row.pairs}", kind="number"),
                text(row.verdict),
            )
            for row in table
        ),
    )


def _bounds(low: float | None, high: float | None, why: str = "too few questions") -> Cell:
    shown = bounds(low, high, 3)
    return Cell(shown or MISSING, title="" if shown else why, kind="number")
