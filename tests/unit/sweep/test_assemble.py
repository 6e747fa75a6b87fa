from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from made_rows import calibration, request_record
from medsweep.datasets.spec import Pair
from medsweep.finetune.adapter import Adapter
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.load_columns import add_calibration
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics import tally
from medsweep.metrics.quality import score_and_count
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.schema import BENCHMARK, LATENCIES, REQUESTS, RESPONSES
from medsweep.sweep.assemble import Deployment, assemble, grade, measurement_row, request_rows
from medsweep.sweep.measurements import Measurement

PAIRS = {
    "q1": Pair("q1", "What is asthma?", "Asthma narrows the airways."),
    "q2": Pair("q2", "What is gout?", "Gout is a painful arthritis."),
}
MEASUREMENT = Measurement(LoadPoint(concurrency=1, requests=2), 1, "adapter")


def record(index: int, question: str, text: str, **changes: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "index": index,
        "question_id": question,
        "sent_s": 10.0 + index,
        "first_text_s": 10.1 + index,
        "end_s": 10.5 + index,
        "chunk_gaps_s": (0.2, 0.2),
        "text": text,
    }
    return request_record(**{**values, **changes})


RECORDS = [
    record(0, "q1", "warm", phase="warmup"),
    record(1, "q1", "Asthma narrows the airways."),
    record(2, "q2", "Something else entirely"),
    record(3, "q2", "", status="timeout", first_text_s=None, chunk_gaps_s=(), chunk_tokens=None),
]


def graded(records: list[RequestRecord], keep_text: bool = False) -> Any:
    return grade(MEASUREMENT, records, PAIRS, seed=0, keep_text=keep_text)


def row_of(
    records: list[RequestRecord],
    *,
    objectives: list[Objective] | None = None,
) -> dict[str, Any]:
    return measurement_row(
        MEASUREMENT,
        figures=figures_of(records, MEASUREMENT.point, objectives or []),
        recording=None,
        grades=graded(records),
    )


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


def test_bounds_stand_beside_the_figures() -> None:
    cut = lambda text: (" ".join(text.split()[:2]), len(text.split()) > 2)  # noqa: E731
    columns = grade(MEASUREMENT, RECORDS, PAIRS, seed=0, keep_text=False, cut=cut).columns
    # Two of three and two of four words, as SQuAD counts ("the" and "a" are none).
    assert columns["token_f1_ceiling"] == pytest.approx((4 / 5 + 4 / 6) / 2)
    assert (columns["token_f1_empty"], columns["long_references_share"]) == (0.0, 1.0)
    assert columns["token_f1_floor"] == 0.0, "the references share no word"
    assert columns["truncated_share"] == 0.0
    without = graded(RECORDS).columns
    assert "token_f1_ceiling" not in without
    assert without["long_references_share"] is None


def test_confidence_has_its_interval_from_fifty_questions_on() -> None:
    asked = [f"q{place}" for place in range(60)]
    pairs = {question: Pair(question, "What is gout?", "Gout is arthritis.") for question in asked}
    records = [
        record(place, question, "Gout is arthritis." if place < 40 else "Rest")
        for place, question in enumerate(asked)
    ]
    # It is surest of what is right: 40 of 60 are.
    logprobs = {place: -float(place) for place in range(60)}
    for known, bounded in ((60, True), (49, False)):
        columns = grade(
            MEASUREMENT,
            records[:known],
            pairs,
            seed=0,
            keep_text=False,
            logprobs=logprobs,
        ).columns
        right = [min(40 / answered, 1.0) for answered in range(1, known + 1)]
        area = columns["coverage_f1_area"]
        assert area == pytest.approx(sum(right) / known)
        assert columns["confidence_questions"] == known
        if bounded:
            assert columns["coverage_f1_area_low"] < area < columns["coverage_f1_area_high"]
        else:
            assert columns["coverage_f1_area_low"] is None


def test_quality_is_told_without_the_questions_that_were_learnt() -> None:
    grades = grade(MEASUREMENT, RECORDS, PAIRS, seed=0, keep_text=False, leaked={"q1"})
    assert [row["leaked"] for row in grades.rows] == [True, False]
    columns = grades.columns
    assert (columns["exact_match"], columns["exact_match_not_leaked"]) == (0.5, 0.0)
    assert columns["leaked_questions"] == 1
    assert columns["quantity_agreement_not_leaked"] is None, "no reference has a quantity"
    every = grade(MEASUREMENT, RECORDS, PAIRS, seed=0, keep_text=False, leaked={"q1", "q2"}).columns
    assert (every["leaked_questions"], every["exact_match_not_leaked"]) == (2, None)
    none = graded(RECORDS).columns
    assert (none["leaked_questions"], none["exact_match_not_leaked"]) == (0, 0.5)


def test_means_without_leaked_questions_have_their_interval() -> None:
    asked = [f"q{place}" for place in range(30)]
    pairs = {question: Pair(question, "What is gout?", "Gout is arthritis.") for question in asked}
    records = [
        record(place, question, "Gout is arthritis." if place < 16 else "Rest")
        for place, question in enumerate(asked)
    ]

    def ends(leaked: list[str], name: str) -> list[float | None]:
        columns = grade(MEASUREMENT, records, pairs, seed=0, keep_text=False, leaked=leaked).columns
        return [columns.get(f"{name}{end}") for end in ("", "_low", "_high")]

    exact = stats.binomtest(6, 20).proportion_ci(method="exact")
    six_of_twenty = pytest.approx([6 / 20, exact.low, exact.high])
    assert ends(asked[:10], "exact_match_not_leaked") == six_of_twenty
    assert ends(asked[:10], "quantity_agreement_not_leaked") == [None] * 3
    assert ends(asked[1:], "token_f1_not_leaked") == [1.0, None, None], "of one question"
    assert ends(asked, "token_f1_not_leaked") == [None] * 3
    assert ends([], "token_f1_not_leaked") == ends([], "token_f1")


def test_every_column_is_in_the_schema() -> None:
    known = {column.name for column in BENCHMARK}
    row = row_of(
        RECORDS,
        objectives=[Objective("ttft", "max", 0.2)],
    )
    add_calibration(row, calibration(1))
    assert set(row) <= known
    assert row["client_ttft_bias_s"] == 0.001
    assert row["goodput_rps"] > 0
    assert set(request_rows(MEASUREMENT, RECORDS)[0]) == {column.name for column in REQUESTS}
    kept = graded(RECORDS, keep_text=True).rows
    assert set(kept[0]) == {column.name for column in RESPONSES}


def test_text_is_only_kept_where_it_may_be() -> None:
    rows = graded(RECORDS).rows
    assert len(rows) == 2
    assert "asthma" not in str(rows).lower()
    assert rows[0]["exact_match"] == 1.0
    assert "asthma" not in str(request_rows(MEASUREMENT, RECORDS)).lower()


def test_each_answer_is_graded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graded_answers = []

    def counted(answer: str, reference: str, *_: Any) -> Any:
        graded_answers.append(answer)
        return score_and_count(answer, reference)

    monkeypatch.setattr(tally, "score_and_count", counted)
    row_of(RECORDS)
    assert graded_answers == ["Asthma narrows the airways.", "Something else entirely"]


def test_without_an_answer_there_is_no_figure_of_quality() -> None:
    grades = graded(RECORDS[-1:])
    assert (grades.columns, grades.rows) == ({}, [])


ADAPTER = Adapter(Path("a"), "m", Path("b"), "plain", (), "f" * 64)


def test_intervals_are_over_the_repeats_of_one_load_point() -> None:
    measurements = [
        {
            "load_point": point,
            "variant": "adapter",
            **{f"{name}_mean_s": None for name in LATENCIES},
            "ttft_mean_s": mean,
        }
        for point, mean in (
            ("c1", 0.1),
            ("c1", 0.3),
            ("c1", 0.2),
            ("c4", 9.0),
            ("c8", 1),
            ("c8", 3),
        )
    ]
    rows = assemble({}, measurements, adapter=ADAPTER, predictions={})
    # Student's t with two degrees of freedom: 4.303 standard errors of the logarithm.
    low_s = 0.2 * math.exp(-4.30265 * 0.1 / math.sqrt(3) / 0.2)
    assert rows[0]["ttft_mean_low_s"] == pytest.approx(low_s, rel=1e-4)
    assert rows[0]["ttft_mean_high_s"] == rows[1]["ttft_mean_high_s"]
    assert rows[1]["ttft_mean_cv"] == pytest.approx(0.1 / 0.2)
    assert "ttft_mean_low_s" not in rows[3]
    assert "ttft_mean_cv" not in rows[3]
    # Two repeats tell their spread, but no interval.
    assert rows[4]["ttft_mean_low_s"] is rows[4]["ttft_mean_high_s"] is None
    assert rows[4]["ttft_mean_cv"] == pytest.approx(math.sqrt(2) / 2)


def test_a_row_joins_what_is_known_of_its_cell_deployment_and_measurement() -> None:
    deployment = Deployment({"basis": "observed", "cpus_given": 1}, 1, 2.0, 4, 3)
    again = Deployment({"basis": "observed", "cpus_given": 1}, 2, 2.5, 4, 3)
    adapter = deployment.columns | row_of(RECORDS)
    base = {**again.columns, **row_of(RECORDS), "variant": "base"}
    predictions = {"c1": {"predicted_ttft_s": 0.05}}
    rows = assemble(
        {"cell": "m@p"},
        [adapter, base],
        adapter=ADAPTER,
        predictions=predictions,
    )
    assert [row["adapter_sha256"] for row in rows] == ["f" * 64, None]
    for row in rows:
        assert set(row) <= {column.name for column in BENCHMARK}
        assert (row["cell"], row["basis"], row["predicted_ttft_s"]) == ("m@p", "observed", 0.05)
        assert row["cold_start_engines"] == 4
        assert row["cpu_throttled_periods"] == 3
        assert row["questions"] == 2
    assert [(row["deployment"], row["cold_start_s"]) for row in rows] == [(1, 2.0), (2, 2.5)]


def test_intervals_are_over_deployments_where_there_are_several() -> None:
    measurements = [
        {
            "load_point": "c1",
            "variant": "adapter",
            "deployment": deployment,
            **{f"{name}_mean_s": None for name in LATENCIES},
            "ttft_mean_s": mean,
        }
        for deployment, mean in ((1, 0.09), (1, 0.11), (2, 0.29), (2, 0.31), (3, 0.2))
    ]
    rows = assemble({}, measurements, adapter=ADAPTER, predictions={})
    # Deployments of 0.1, 0.3 and 0.2 are three values, whatever their repeats.
    low_s = 0.2 * math.exp(-4.30265 * 0.1 / math.sqrt(3) / 0.2)
    assert rows[0]["ttft_mean_low_s"] == pytest.approx(low_s, rel=1e-4)
