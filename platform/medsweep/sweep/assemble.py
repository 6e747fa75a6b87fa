"""From what was measured in a cell to its rows of `benchmark.parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.loadgen.calibrate import Calibration
from medsweep.loadgen.figures import LoadFigures
from medsweep.loadgen.load_columns import load_columns
from medsweep.metrics.faulty_answers import is_refusal
from medsweep.metrics.quality import score_answer
from medsweep.metrics.request_record import RequestRecord
from medsweep.metrics.significance import coefficient_of_variation
from medsweep.metrics.statistics import repeat_interval
from medsweep.metrics.tally import AnswerTally
from medsweep.results.schema import LATENCIES
from medsweep.sweep.measurements import Measurement


def request_rows(
    measurement: Measurement, records: Iterable[RequestRecord]
) -> list[dict[str, Any]]:
    """Return the measurement's rows of `requests.parquet`."""
    rows = []
    for record in records:
        values = asdict(record)
        del values["text"]
        for name in ("ttft_s", "tpot_s", "e2e_s", "dispatch_delay_s"):
            values[name] = getattr(record, name)
        rows.append({**measurement.columns, **values})
    return rows


def response_rows(
    measurement: Measurement,
    records: Iterable[RequestRecord],
    pairs: Mapping[str, Pair],
    *,
    keep_text: bool,
) -> list[dict[str, Any]]:
    """Grade the answers that were timed, and return the measurement's rows of `responses.parquet`.

    Args:
        measurement: which one.
        records: its requests; only measured ones that were answered are graded.
        pairs: question and reference by question_id.
        keep_text: whether the texts may be stored.
    """
    rows = []
    for record in records:
        if record.phase != "measure" or record.status != "ok":
            continue
        pair = pairs[record.question_id]
        row: dict[str, Any] = {
            **measurement.columns,
            "index": record.index,
            "question_id": record.question_id,
            "answer_words": len(record.text.split()),
            "reference_words": len(pair.answer.split()),
            "finish_reason": record.finish_reason,
            "refusal": is_refusal(record.text),
            **asdict(score_answer(record.text, pair.answer)),
        }
        if keep_text:
            row |= {"question": pair.question, "reference": pair.answer, "answer": record.text}
        rows.append(row)
    return rows


def measurement_row(
    measurement: Measurement,
    records: Sequence[RequestRecord],
    pairs: Mapping[str, Pair],
    *,
    figures: LoadFigures,
    calibration: Calibration | None,
    seed: int,
) -> dict[str, Any]:
    """Return the measurement's figures, as columns of `benchmark.parquet`.

    Args:
        measurement: which one.
        records: its requests, of all phases.
        pairs: question and reference by question_id.
        figures: its load figures.
        calibration: the client's own error at the nearest concurrency.
        seed: of the bootstrap.
    """
    answered = [each for each in records if each.phase == "measure" and each.status == "ok"]
    return {
        **load_columns(
            measurement.point, measurement.repeat, measurement.variant, figures, calibration
        ),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **_quality(answered, pairs, seed),
    }


def add_repeat_intervals(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row the interval of its means over the repeats of its load point, in place."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["load_point"], row["variant"]), []).append(row)
    for members in groups.values():
        for latency in LATENCIES:
            means = [row[f"{latency}_mean_s"] for row in members]
            present = [mean for mean in means if mean is not None]
            if len(present) > 1:
                interval = repeat_interval(present)
                variation = coefficient_of_variation(present)
                for row in members:
                    row[f"{latency}_mean_cv"] = variation
                    row[f"{latency}_mean_low_s"] = interval.low
                    row[f"{latency}_mean_high_s"] = interval.high


def _quality(
    answered: Sequence[RequestRecord], pairs: Mapping[str, Pair], seed: int
) -> dict[str, Any]:
    if not answered:
        return {}
    tally = AnswerTally()
    for record in answered:
        reference = pairs[record.question_id].answer
        tally.add(record.text, reference, record.question_id, record.finish_reason)
    row: dict[str, Any] = {
        "questions": tally.questions,
        "corpus_bleu": tally.corpus_bleu,
        "correct_share": tally.correct_share,
        "length_ratio": tally.length_ratio,
        "answer_words_mean": tally.answer_words_mean,
        "empty_answers": tally.empty,
        "refusals": tally.refusals,
        "truncated_answers": tally.truncated,
        "finish_reasons": dict(tally.finish_reasons),
    }
    for name, summary in tally.figures(seed).items():
        row |= {name: summary.mean, f"{name}_low": summary.low}
        row |= {f"{name}_high": summary.high, f"{name}_max": summary.max}
    return row
