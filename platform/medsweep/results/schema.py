"""Every column of the result files: name, type, unit and meaning.

Parquet field metadata, Prometheus metrics, axis labels and the reference page come from here.
Missing is null, never 0. Units are SI and in the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medsweep.results.answers import ANSWERS, CLAIMS, QUANTITIES
from medsweep.results.column import Column
from medsweep.results.conditions import CLIENT, COST, ROOFLINE, SERVER, TELEMETRY
from medsweep.results.identity import IDENTITY, OBSERVED, REQUESTED

if TYPE_CHECKING:
    import pyarrow as pa

STATISTICS = {
    "mean": "mean",
    "p50": "median; null under 11 requests",
    "p90": "90th percentile; null under 64 requests",
    "p95": "95th percentile; null under 130 requests",
    "p99": "99th percentile; null under 662 requests",
    "max": "maximum",
}
"""Percentiles of too few requests are null (metrics.statistics.percentile_floor)."""

LATENCIES = {
    "ttft": "time to the first chunk that carries text, from the due time in an open loop",
    "tpot": "(end-to-end - TTFT) / (output tokens - 1); null if over a fifth "
    "of an answer's tokens came with the first",
    "itl": "gap between output tokens, or between chunks (itl_unit)",
    "e2e": "time to the end of the answer, from the due time in an open loop",
    "dispatch_delay": "delay from due time to sending; null in a closed loop",
}

QUALITIES = {
    "exact_match": "share of answers equal to the reference after SQuAD's normalisation",
    "ngram_match": "share of the reference's n-grams, n = 1..4, found in the answer",
    "bleu": "sentence BLEU (sacrebleu), 0 to 1",
    "rouge1": "ROUGE-1 F-measure",
    "rouge2": "ROUGE-2 F-measure",
    "rouge_l": "ROUGE-L F-measure",
    "token_f1": "token F1 after SQuAD's normalisation",
    "quantity_agreement": "share of the reference's quantities that the answer gives; null if "
    "there are none",
    "consistency": "share of answers that contradict no quantity and no statement of the reference",
    "concept_f1": "F1 over concepts of the lexicon, negated ones apart; null without a concept",
    "claim_recall": "share of the reference's sentences that the answer entails; null without an "
    "entailment model",
    "claim_precision": "share of the answer's sentences that the reference entails; null without "
    "an entailment model",
    "claim_consistency": "share of the sentences of both that the other text does not contradict; "
    "null without an entailment model",
}


QUALITY_BOUNDS = {
    "ceiling": "the reference cut off at max_tokens",
    "floor": "another question's reference, cut off in the same way",
    "empty": "an empty answer",
}
"""What answers that need no model get on the same questions."""

RENAMED = {"correct_share": "half_f1_share"}
"""Columns that had another name once, by that name."""


def _latency_columns() -> Iterator[Column]:
    for latency, meaning in LATENCIES.items():
        for statistic, words in STATISTICS.items():
            yield Column(f"{latency}_{statistic}_s", "number", "s", f"{meaning}: {words}")
        for bound in ("low", "high"):
            yield Column(
                f"{latency}_mean_{bound}_s",
                "number",
                "s",
                f"{latency} mean: {bound} end of the 95 % t interval over deployments, or over "
                "repeats if there was one deployment",
            )
        yield Column(
            f"{latency}_mean_cv",
            "number",
            "1",
            f"{latency} mean: standard deviation over mean of the load point's repeats",
        )


def _quality_columns() -> Iterator[Column]:
    for quality, meaning in QUALITIES.items():
        yield Column(quality, "number", "1", f"{meaning}: mean over questions")
        for bound in ("low", "high"):
            yield Column(
                f"{quality}_{bound}",
                "number",
                "1",
                f"{quality}: {bound} end of the 95 % interval over questions",
            )
        yield Column(f"{quality}_max", "number", "1", f"{quality}: best single answer")
        for end in ("", "_low", "_high"):
            yield Column(
                f"{quality}_not_leaked{end}",
                "number",
                "1",
                f"{quality}: mean over questions that did not leak"
                + (f": {end[1:]} end of its 95 % interval" if end else ""),
            )
        for end in ("", "_low", "_high"):
            yield Column(
                f"{quality}_errors_seen{end}",
                "number",
                "1",
                f"{quality}: share of deliberate errors in the references that it sees"
                + (f": {end[1:]} end of the exact 95 % interval" if end else ""),
            )
        for bound, words in QUALITY_BOUNDS.items():
            yield Column(f"{quality}_{bound}", "number", "1", f"{quality} of {words}")


OUTCOME = (
    Column("status", "text", "", "ok, failed or refused"),
    Column("reason", "text", "", "why the status is not ok"),
    Column("sent", "integer", "1", "measured requests"),
    Column("ok", "integer", "1", "answered requests"),
    Column("failed", "integer", "1", "requests without a complete answer"),
    Column("failed_by_kind", "counts", "1", "failed requests by kind"),
    Column(
        "window_s",
        "number",
        "s",
        "time that the rates cover: closed loop, first measured send to last measured end; open "
        "loop, due times of the measured requests, or first to last end where the queue grows",
    ),
    Column(
        "requests_per_s",
        "number",
        "1/s",
        "answers over the window: by the share of their time in it (closed loop), to requests due "
        "in it (open loop), or ended in it (growing queue); null unless longer than an answer",
    ),
    Column("output_tokens_per_s", "number", "1/s", "tokens of those answers over the window"),
    Column(
        "goodput_rps",
        "number",
        "1/s",
        "requests_per_s times the share of answers that meet every objective; null without "
        "objectives",
    ),
    Column(
        "e2e_growth",
        "number",
        "1",
        "seconds by which answers got slower per second of an open loop; null where the queue does "
        "not grow",
    ),
    Column("prompt_tokens_mean", "number", "1", "tokens of a prompt"),
    Column("output_tokens_mean", "number", "1", "tokens of an answer"),
    Column(
        "itl_unit", "text", "", "what ITL is the gap between: token or chunk; null without gaps"
    ),
    Column("load_notes", "text", "", "notes on the load figures, such as why one of them is null"),
    Column(
        "cold_start_s",
        "number",
        "s",
        "time from requesting the engine to its first answer, without waiting for other cells' "
        "answers",
    ),
    Column(
        "cold_start_engines",
        "integer",
        "1",
        "engines that were started together; with more than 1 they may have shared a machine",
    ),
)

BENCHMARK: tuple[Column, ...] = (
    *IDENTITY,
    *REQUESTED,
    *OBSERVED,
    *SERVER,
    *OUTCOME,
    *_latency_columns(),
    Column("questions", "integer", "1", "distinct questions graded"),
    *_quality_columns(),
    Column("corpus_bleu", "number", "1", "BLEU over all answers (sacrebleu), 0 to 1"),
    *ANSWERS,
    *CLIENT,
    *TELEMETRY,
    *ROOFLINE,
    *COST,
)
"""`benchmark.parquet`: one row per measurement, and one per cell that has none."""

MEASUREMENT = (
    Column("load_point", "text", "", "load shape"),
    Column("repeat", "integer", "1", "number of the repeat, from 1"),
    Column("variant", "text", "", "what answered: adapter or base"),
    Column("index", "integer", "1", "order of sending"),
    Column("question_id", "text", "", "question asked"),
)

REQUESTS: tuple[Column, ...] = (
    *MEASUREMENT,
    Column("phase", "text", "", "warmup, measure or cooldown"),
    Column("status", "text", "", "ok, or the kind of failure"),
    Column("error", "text", "", "the failure, without text of prompt or answer"),
    Column(
        "due_s", "number", "s", "due time, on the client's monotonic clock; null in a closed loop"
    ),
    Column("sent_s", "number", "s", "time of sending, same clock"),
    Column("first_text_s", "number", "s", "time of the first text, same clock"),
    Column("end_s", "number", "s", "time at which the answer ended, same clock"),
    Column("ttft_s", "number", "s", LATENCIES["ttft"]),
    Column("tpot_s", "number", "s", LATENCIES["tpot"]),
    Column("e2e_s", "number", "s", LATENCIES["e2e"]),
    Column("dispatch_delay_s", "number", "s", LATENCIES["dispatch_delay"]),
    Column("chunk_gaps_s", "numbers", "s", "gaps between chunks that carry text"),
    Column("chunk_tokens", "integers", "1", "tokens in each of those chunks"),
    Column("prompt_tokens", "integer", "1", "tokens of the prompt"),
    Column("output_tokens", "integer", "1", "tokens of the answer"),
    Column(
        "token_source", "text", "", "source of the token counts: usage (the server) or tokenizer"
    ),
    Column("finish_reason", "text", "", "stop or length"),
)
"""`requests.parquet`: one row per request, including warm-up and cool-down."""

RESPONSES: tuple[Column, ...] = (
    *MEASUREMENT,
    Column("question", "text", "", "text of the question; null unless texts are kept"),
    Column("reference", "text", "", "reference answer; null unless texts are kept"),
    Column("answer", "text", "", "text of the answer; null unless texts are kept"),
    Column("answer_words", "integer", "1", "words of the answer"),
    Column("reference_words", "integer", "1", "words of the reference answer"),
    Column("finish_reason", "text", "", "stop or length"),
    Column("leaked", "flag", "", "the answer, or its question, is in the training set"),
    Column("refusal", "flag", "", "the answer starts with a refusal (English phrases)"),
    *(Column(name, "number", "1", meaning) for name, meaning in QUALITIES.items()),
    *QUANTITIES,
    *CLAIMS,
    Column(
        "token_logprob_mean",
        "number",
        "1",
        "mean log-probability of the answer's tokens; null unless quality.confidence",
    ),
)
"""`responses.parquet`: one row per measured answer, with its scores."""


def renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row that an earlier version wrote, with today's names of columns."""
    return {RENAMED.get(name, name): value for name, value in row.items()}


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return the Parquet schema of a table, with unit and meaning as field metadata."""
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "counts": pa.map_(pa.string(), pa.int64()),
        "numbers": pa.list_(pa.float64()),
        "integers": pa.list_(pa.int64()),
    }
    return pa.schema(
        [
            pa.field(
                column.name,
                types[column.kind],
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in columns
        ]
    )
