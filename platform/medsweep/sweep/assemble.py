"""From the records of a cell's measurements to its rows in the result files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from medsweep.datasets.spec import Pair
from medsweep.finetune.adapter import Adapter
from medsweep.loadgen.figures import LoadFigures
from medsweep.loadgen.fleet import Split
from medsweep.loadgen.load_columns import load_columns
from medsweep.metrics.bounds import Cut
from medsweep.metrics.claims import CLAIM_COUNTS
from medsweep.metrics.faulty_answers import is_refusal
from medsweep.metrics.quality import DEFAULT_GRADER, Grader
from medsweep.metrics.request_record import RequestRecord
from medsweep.metrics.resampling import known_intervals
from medsweep.metrics.significance import coefficient_of_variation
from medsweep.metrics.statistics import repeat_interval
from medsweep.metrics.tally import AnswerTally
from medsweep.results.aggregate import (
    group_by_columns,
    independent_values,
    mean,
    values,
)
from medsweep.results.schema import LATENCIES, QUALITIES
from medsweep.sweep.cell_columns import Row
from medsweep.sweep.measurements import Measurement
from medsweep.telemetry.bound import add_bounds
from medsweep.telemetry.recording import Recording
from medsweep.telemetry.window import telemetry_columns


@dataclass
class Deployment:
    """What was observed of one deployment of a cell.

    Attributes:
        observed: columns that the engine's own process reported.
        number: how often the cell had been deployed by then; None if MedSweep did not deploy it.
        cold_start_s: from requesting the engine to its first answer, in seconds.
        cold_start_engines: number of engines that were started together.
        cpu_throttled_periods: scheduling periods that a quota has cut short since it began.
    """

    observed: Row
    number: int | None = None
    cold_start_s: float | None = None
    cold_start_engines: int | None = None
    cpu_throttled_periods: int | None = None

    @property
    def columns(self) -> Row:
        """The columns of `benchmark.parquet`."""
        return {
            **self.observed,
            "deployment": self.number,
            "cold_start_s": self.cold_start_s,
            "cold_start_engines": self.cold_start_engines,
            "cpu_throttled_periods": self.cpu_throttled_periods,
        }


@dataclass(frozen=True)
class Grades:
    """The graded answers of one measurement.

    Attributes:
        columns: of the measurement's row in `benchmark.parquet`.
        rows: of `responses.parquet`.
    """

    columns: Row
    rows: list[Row]


def grade(
    measurement: Measurement,
    records: Iterable[RequestRecord],
    pairs: Mapping[str, Pair],
    *,
    seed: int,
    keep_text: bool,
    cut: Cut | None = None,
    leaked: Collection[str] = (),
    grader: Grader = DEFAULT_GRADER,
    logprobs: Mapping[int, float] | None = None,
) -> Grades:
    """Grade the answers that were timed, each once.

    Args:
        measurement: which one.
        records: its requests; only measured ones that were answered are graded.
        pairs: question and reference by question_id.
        seed: of the bootstrap.
        keep_text: whether the texts may be stored.
        cut: cuts a reference at the longest allowed answer; None if that is not known.
        leaked: ids of questions whose answers are in the training side.
        grader: what they are graded by.
        logprobs: mean log-probability of an answer's tokens by index; None if unknown.
    """
    tally, rows = AnswerTally(cut, grader), []
    for record in records:
        if record.phase != "measure" or record.status != "ok":
            continue
        pair = pairs[record.question_id]
        logprob = (logprobs or {}).get(record.index)
        score, quantities, claims = tally.add(
            record.text,
            pair.answer,
            record.question_id,
            record.finish_reason,
            logprob=logprob,
        )
        row: Row = {
            **measurement.columns,
            "index": record.index,
            "question_id": record.question_id,
            "answer_words": len(record.text.split()),
            "reference_words": len(pair.answer.split()),
            "finish_reason": record.finish_reason,
            "refusal": is_refusal(record.text),
            "leaked": record.question_id in leaked,
            **asdict(score),
            **quantities.columns,
            **dict.fromkeys(CLAIM_COUNTS),
            **claims.columns,
            "token_logprob_mean": logprob,
        }
        if keep_text:
            row |= {"question": pair.question, "reference": pair.answer, "answer": record.text}
        rows.append(row)
    if not rows:
        return Grades({}, rows)
    graded = quality_columns(tally, seed)
    return Grades(graded | _not_leaked(rows, graded, seed), rows)


def request_rows(measurement: Measurement, records: Iterable[RequestRecord]) -> list[Row]:
    """Return the measurement's rows of `requests.parquet`."""
    rows = []
    for record in records:
        fields = asdict(record)
        del fields["text"]
        for name in ("ttft_s", "tpot_s", "e2e_s", "dispatch_delay_s"):
            fields[name] = getattr(record, name)
        rows.append({**measurement.columns, **fields})
    return rows


def measurement_row(
    measurement: Measurement,
    *,
    figures: LoadFigures,
    recording: Recording | None,
    grades: Grades,
    split: Split | None = None,
) -> Row:
    """Return what one measurement adds to its row of `benchmark.parquet`.

    Args:
        measurement: which one.
        figures: its load figures.
        recording: telemetry of the engine's node.
        grades: of its answers.
        split: how several load generators shared its load; None if one sent it.
    """
    telemetry: Row = {}
    if figures.window is not None:
        telemetry = telemetry_columns(recording, figures.window.start_s, figures.window.stop_s)
    return {
        **load_columns(
            measurement.point, measurement.repeat, measurement.variant, figures, split=split
        ),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **grades.columns,
        **telemetry,
    }


def assemble(
    cell: Mapping[str, Any],
    measurements: Sequence[Mapping[str, Any]],
    *,
    adapter: Adapter | None,
    predictions: Mapping[str, Mapping[str, Any]],
) -> list[Row]:
    """Return the rows of a measured cell, one per measurement, without price and cost.

    Args:
        cell: the columns that are known before it runs.
        measurements: rows of `measurement_row`, with the columns of their deployments.
        adapter: what the cell served; None for a server that MedSweep did not deploy.
        predictions: the roofline's columns by load point; empty unless the basis is observed.
    """
    groups = group_by_columns(measurements, "load_point", "variant")
    intervals = {group: _repeat_intervals(repeats) for group, repeats in groups.items()}
    rows: list[Row] = [
        {
            **cell,
            **predictions.get(measurement["load_point"], {}),
            **measurement,
            **intervals[measurement["load_point"], measurement["variant"]],
            "adapter_sha256": adapter.sha256
            if adapter and measurement["variant"] == "adapter"
            else None,
        }
        for measurement in measurements
    ]
    add_bounds(rows)
    return rows


def _repeat_intervals(repeats: Sequence[Mapping[str, Any]]) -> Row:
    """Return the intervals of one load point's mean latencies: over deployments, or repeats."""
    columns: Row = {}
    for latency in LATENCIES:
        means = values(repeats, f"{latency}_mean_s")
        if len(means) > 1:
            interval = repeat_interval(independent_values(repeats, f"{latency}_mean_s"))
            columns |= {
                f"{latency}_mean_cv": coefficient_of_variation(means),
                f"{latency}_mean_low_s": interval.low,
                f"{latency}_mean_high_s": interval.high,
            }
    return columns


def _not_leaked(rows: Sequence[Row], graded: Row, seed: int) -> Row:
    """Return the mean figures over the questions that were not learnt, each question once.

    Args:
        rows: one per answer.
        graded: the figures over all questions.
        seed: of the bootstrap over questions.
    """
    questions = group_by_columns(rows, "question_id").values()
    clean = [answers for answers in questions if not answers[0]["leaked"]]
    columns: Row = {"leaked_questions": len(questions) - len(clean)}
    ends = ("", "_low", "_high")
    if len(clean) == len(questions):
        return columns | {
            f"{name}_not_leaked{end}": graded.get(f"{name}{end}")
            for name in QUALITIES
            for end in ends
        }
    figures = [[mean(answers, name) for name in QUALITIES] for answers in clean]
    known = np.array(figures, dtype=float).reshape(-1, len(QUALITIES))
    for name, interval in zip(QUALITIES, known_intervals(known, seed=seed), strict=True):
        figure = (interval.mean, interval.low, interval.high) if interval else (None,) * 3
        columns |= {
            f"{name}_not_leaked{end}": value for end, value in zip(ends, figure, strict=True)
        }
    return columns


def quality_columns(tally: AnswerTally, seed: int) -> Row:
    """Return the columns of `benchmark.parquet` that graded answers fill."""
    row: Row = {
        "questions": tally.questions,
        "corpus_bleu": tally.corpus_bleu,
        **tally.agreement.columns,
        **tally.claims.columns,
        "claims_by": tally.claims_by,
        "answers_with_quantities": tally.with_quantities,
        "answers_with_concepts": tally.with_concepts,
        "half_f1_share": tally.half_f1_share,
        "beyond_rouge_share": tally.beyond_rouge / len(tally),
        "truncated_share": tally.truncated_share,
        "long_references_share": tally.bounds.too_long_share,
        "length_ratio": tally.length_ratio,
        "answer_words_mean": tally.answer_words_mean,
        "empty_answers": tally.empty,
        "refusals": tally.refusals,
        "truncated_answers": tally.truncated,
        "finish_reasons": dict(tally.finish_reasons),
    }
    if (share := tally.verified(seed)) is not None:
        row |= {"verified_share": share.mean, "verified_share_low": share.low}
        row |= {"verified_share_high": share.high, "verified_by": tally.verified_by}
    if (sure := tally.confidence(seed)) is not None:
        row["confidence_questions"] = sure.questions
        for name, interval in (
            ("confidence_f1", sure.ranking),
            ("surest_f1", sure.covered),
            ("coverage_f1_area", sure.area),
        ):
            if interval is not None:
                row |= {name: interval.mean, f"{name}_low": interval.low}
                row |= {f"{name}_high": interval.high}
    for bound, means in tally.bounds.means().items():
        row |= {f"{name}_{bound}": value for name, value in means.items()}
    for name, summary in tally.figures(seed).items():
        row |= {name: summary.mean, f"{name}_low": summary.low}
        row |= {f"{name}_high": summary.high, f"{name}_max": summary.max}
    return row
