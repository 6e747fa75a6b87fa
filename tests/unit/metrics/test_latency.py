from dataclasses import replace
from typing import Literal

import pytest

from medsweep.metrics.latency import (
    Summary,
    count_by_kind,
    goodput_rps,
    output_tokens_per_s,
    requests_per_s,
    summarise,
    window_s,
)
from medsweep.metrics.request_record import RequestRecord


def record(
    phase: Literal["warmup", "measure", "cooldown"],
    sent_s: float,
    first_text_s: float | None,
    end_s: float,
    tokens: int | None = 10,
    status: str = "ok",
) -> RequestRecord:
    return RequestRecord(
        index=0,
        phase=phase,
        question_id="q1",
        due_s=None,
        sent_s=sent_s,
        first_text_s=first_text_s,
        end_s=end_s,
        chunk_gaps_s=(),
        chunk_tokens=None,
        prompt_tokens=None,
        output_tokens=tokens,
        token_source=None,
        finish_reason=None,
        status=status,
        error=None,
        text="",
    )


# The measured window is 10 s to 20 s.
LOAD = [
    record("warmup", 5.0, 7.0, 9.0),  # over before
    record("warmup", 6.0, 8.0, 12.0),  # half of its tokens inside
    record("measure", 10.0, 11.0, 15.0),
    record("measure", 12.0, None, 18.0, tokens=None, status="timeout"),
    record("measure", 15.0, 16.0, 20.0),
    record("cooldown", 16.0, 19.0, 23.0),  # a quarter of its tokens inside
    record("cooldown", 21.0, 22.0, 25.0),  # begun after
]


def test_summary_of_few_samples_has_no_percentiles_and_ignores_null() -> None:
    assert summarise([1.0, None, 3.0]) == Summary(2, 2.0, None, None, None, None, 3.0)
    assert summarise([None]) == Summary(0, None, None, None, None, None, None)


def test_zero_is_a_sample() -> None:
    assert summarise([0.0, 4.0]) == Summary(2, 2.0, None, None, None, None, 4.0)


def test_summary_fills_in_as_samples_grow() -> None:
    hundred = summarise(float(n) for n in range(101))
    assert (hundred.p50, hundred.p90, hundred.p95, hundred.p99) == (50.0, 90.0, None, None)
    many = summarise(float(n) for n in range(1001))
    assert (many.p95, many.p99, many.max) == (950.0, 990.0, 1000.0)


def test_failures_are_counted_by_kind() -> None:
    extra = [record("measure", 0, None, 1, status=kind) for kind in ("timeout", "http_500")]
    assert count_by_kind([*LOAD, *extra]) == {"timeout": 2, "http_500": 1}


def test_window_runs_from_first_measured_send_to_last_measured_end() -> None:
    assert window_s(LOAD) == 10.0


def test_throughput_counts_answers_of_any_phase_by_their_share_of_the_window() -> None:
    # 2 s of 6 of the warm-up, both measured ones, 4 s of 7 of the cool-down
    assert requests_per_s(LOAD) == pytest.approx((2 / 6 + 2 + 4 / 7) / 10)


def test_an_open_loop_counts_what_ended_inside_the_window() -> None:
    due = [replace(each, due_s=each.sent_s) for each in LOAD]
    assert requests_per_s(due) == pytest.approx(3 / 10)


def test_a_wave_that_ends_with_the_window_s_start_is_not_counted() -> None:
    # Two workers in step, one second an answer; one ends a moment after the other's next began.
    waves = [
        record("warmup", 0, 0.5, 1.0),
        record("warmup", 0, 0.5, 1.001),
        record("measure", 1.0, 1.5, 2.0),
        record("measure", 1.001, 1.5, 2.001),
    ]
    assert requests_per_s(waves) == pytest.approx(2.0, rel=0.01)


def test_one_client_at_a_time_is_not_counted_one_too_many() -> None:
    # Back to back at one second each: an end at the window's start belongs to what was before.
    chain = [record("warmup", 0, 0.5, 1), record("measure", 1, 1.5, 2), record("measure", 2, 2, 3)]
    assert requests_per_s(chain) == 1.0


def test_tokens_count_in_proportion_to_the_time_inside() -> None:
    # 5 of the warm-up, 10 and 10 of the measured, 2.5 of the cool-down
    assert output_tokens_per_s(LOAD) == pytest.approx(27.5 / 10)


@pytest.mark.parametrize(("end_s", "tokens"), [(9.0, 10), (10.0, 10), (15.0, 20), (21.0, 10)])
def test_tokens_of_one_chunk_come_at_its_end(end_s: float, tokens: int) -> None:
    load = [record("measure", 10.0, 12.0, 20.0), record("warmup", 8.0, end_s, end_s)]
    assert output_tokens_per_s(load) == pytest.approx(tokens / 10)


def test_an_answer_of_unknown_length_makes_tokens_per_s_null() -> None:
    unknown = record("warmup", 8.0, 9.0, 11.0, tokens=None)
    outside = record("warmup", 1.0, 2.0, 3.0, tokens=None)
    assert output_tokens_per_s([*LOAD, unknown]) is None
    assert output_tokens_per_s([*LOAD, outside]) == pytest.approx(27.5 / 10)


def test_goodput_takes_measured_answers_within_both_limits() -> None:
    assert goodput_rps(LOAD) == pytest.approx(2 / 10)
    assert goodput_rps(LOAD, ttft_s=1.0, e2e_s=5.0) == pytest.approx(2 / 10)
    assert goodput_rps(LOAD, ttft_s=0.9) == 0.0
    assert goodput_rps(LOAD, e2e_s=4.9) == 0.0
    slow = record("measure", 11.0, 15.0, 19.0)
    silent = record("measure", 11.0, None, 12.0, tokens=0)
    assert goodput_rps([*LOAD, slow, silent], ttft_s=1.0) == pytest.approx(2 / 10)
    assert goodput_rps([*LOAD, slow, silent], e2e_s=5.0) == pytest.approx(3 / 10)


@pytest.mark.parametrize("load", [[], LOAD[:2], [record("measure", 1.0, 1.0, 1.0)]])
def test_without_a_window_there_are_no_rates(load: list[RequestRecord]) -> None:
    assert window_s(load) is None
    assert requests_per_s(load) is None
    assert output_tokens_per_s(load) is None
    assert goodput_rps(load) is None


def test_a_window_of_failures_has_a_rate_of_zero() -> None:
    failed = [record("measure", 0.0, None, 4.0, tokens=None, status="timeout")]
    assert requests_per_s(failed) == output_tokens_per_s(failed) == goodput_rps(failed) == 0.0
