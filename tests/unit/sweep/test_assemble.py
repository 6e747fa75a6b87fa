from __future__ import annotations

import math
from typing import Any

import pytest

from medsweep.datasets.spec import Pair
from medsweep.loadgen.calibrate import Calibration
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.schema import BENCHMARK, REQUESTS, RESPONSES
from medsweep.sweep.assemble import (
    add_repeat_intervals,
    measurement_row,
    request_rows,
    response_rows,
)
from medsweep.sweep.measurements import Measurement

PAIRS = {
    "q1": Pair("q1", "What is asthma?", "Asthma narrows the airways."),
    "q2": Pair("q2", "What is gout?", "Gout is a painful arthritis."),
}
MEASUREMENT = Measurement(LoadPoint(concurrency=1, requests=2), 1, "adapter")


def record(index: int, question: str, text: str, **changes: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "index": index,
        "phase": "measure",
        "question_id": question,
        "due_s": None,
        "sent_s": 10.0 + index,
        "first_text_s": 10.1 + index,
        "end_s": 10.5 + index,
        "chunk_gaps_s": (0.2, 0.2),
        "chunk_tokens": (1, 1, 1),
        "prompt_tokens": 7,
        "output_tokens": 3,
        "token_source": "usage",
        "finish_reason": "stop",
        "status": "ok",
        "error": None,
        "text": text,
    }
    return RequestRecord(**{**values, **changes})


RECORDS = [
    record(0, "q1", "warm", phase="warmup"),
    record(1, "q1", "Asthma narrows the airways."),
    record(2, "q2", "Something else entirely"),
    record(3, "q2", "", status="timeout", first_text_s=None, chunk_gaps_s=(), chunk_tokens=None),
]


def row_of(records: list[RequestRecord], **changes: Any) -> dict[str, Any]:
    objectives = changes.pop("objectives", [])
    options: dict[str, Any] = {"calibration": None, "seed": 0, **changes}
    figures = figures_of(records, MEASUREMENT.point, objectives)
    return measurement_row(MEASUREMENT, records, PAIRS, figures=figures, **options)


def test_counts_and_latency_are_of_the_measured_phase() -> None:
    row = row_of(RECORDS)
    assert (row["sent"], row["ok"], row["failed"]) == (3, 2, 1)
    assert row["failed_by_kind"] == {"timeout": 1}
    assert row["ttft_mean_s"] == pytest.approx(0.1)
    assert row["tpot_mean_s"] == pytest.approx(0.2)
    assert row["ttft_p50_s"] is None  # too few
    assert row["dispatch_delay_mean_s"] is None  # closed loop
    assert row["goodput_rps"] is None  # no objectives were given


def test_quality_is_of_the_answers_that_were_timed() -> None:
    row = row_of(RECORDS)
    assert row["questions"] == 2
    assert row["exact_match"] == 0.5
    assert row["token_f1_max"] == 1.0
    assert (row["empty_answers"], row["refusals"]) == (0, 0)
    assert row["finish_reasons"] == {"stop": 2}
    assert row["truncated_answers"] == 0


def test_every_column_is_in_the_schema() -> None:
    known = {column.name for column in BENCHMARK}
    row = row_of(
        RECORDS,
        objectives=[Objective("ttft", "max", 0.2)],
        calibration=Calibration(1, 0.001, 0.002, 0.0001, 2.7, 2.8),
    )
    assert set(row) <= known
    assert row["client_ttft_bias_s"] == 0.001
    assert row["goodput_rps"] > 0
    assert set(request_rows(MEASUREMENT, RECORDS)[0]) == {column.name for column in REQUESTS}
    kept = response_rows(MEASUREMENT, RECORDS, PAIRS, keep_text=True)
    assert set(kept[0]) == {column.name for column in RESPONSES}


def test_text_is_only_kept_where_it_may_be() -> None:
    rows = response_rows(MEASUREMENT, RECORDS, PAIRS, keep_text=False)
    assert len(rows) == 2
    assert "asthma" not in str(rows).lower()
    assert rows[0]["exact_match"] == 1.0
    assert "asthma" not in str(request_rows(MEASUREMENT, RECORDS)).lower()


def test_intervals_are_over_the_repeats_of_one_load_point() -> None:
    rows = [
        {"load_point": point, "variant": "adapter", **{f"{name}_mean_s": None for name in NAMES}}
        for point in ("c1", "c1", "c4")
    ]
    for row, mean in zip(rows, (0.1, 0.3, 9.0), strict=True):
        row["ttft_mean_s"] = mean
    add_repeat_intervals(rows)
    # Student's t with one degree of freedom: 12.706 standard errors of 0.1.
    assert rows[0]["ttft_mean_low_s"] == pytest.approx(0.2 - 12.7062 * 0.1, rel=1e-4)
    assert rows[0]["ttft_mean_high_s"] == rows[1]["ttft_mean_high_s"]
    assert rows[1]["ttft_mean_cv"] == pytest.approx(math.sqrt(0.02) / 0.2)
    assert "ttft_mean_low_s" not in rows[2]
    assert "ttft_mean_cv" not in rows[2]


NAMES = ("ttft", "tpot", "itl", "e2e", "dispatch_delay")
