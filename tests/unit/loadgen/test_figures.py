import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from made_rows import request_record
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.load_columns import load_notes
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics import latency
from medsweep.metrics.request_record import Phase, RequestRecord

ONE = request_record()

CLOSED, OPEN = LoadPoint(concurrency=8), LoadPoint(rate=2.0)


def closed_loop(workers: int, rounds: int) -> list[RequestRecord]:
    """Workers in step, a second a request; the first round warms up, the last cools down."""
    records = []
    for turn in range(rounds + 2):
        phase = "warmup" if turn == 0 else "cooldown" if turn > rounds else "measure"
        for worker in range(workers):
            at_s = turn + worker * 1e-3
            records.append(
                replace(
                    ONE,
                    index=turn * workers + worker,
                    phase=phase,
                    sent_s=at_s,
                    first_text_s=at_s + 0.5,
                    end_s=at_s + 1.0,
                )
            )
    return sorted(records, key=lambda record: record.end_s)


@pytest.mark.parametrize("rounds", [1, 3])
def test_closed_loop_in_waves(rounds: int) -> None:
    found = figures_of(closed_loop(8, rounds), CLOSED)
    assert (found.sent, found.ok, found.failed_by_kind) == (8 * rounds, 8 * rounds, {})
    assert found.requests_per_s == pytest.approx(8.0, rel=0.01)
    assert found.output_tokens_per_s == pytest.approx(24.0, rel=0.02)
    assert found.window_s == pytest.approx(rounds + 0.007)
    assert found.latencies["itl"].samples == 2 * 8 * rounds
    assert found.latencies["dispatch_delay"].samples == 0
    assert found.goodput_rps is None


def test_overloaded_open_loop_counts_what_ended() -> None:
    """Two a second for a server that manages one: 20 due in 10 s, of which 10 end in that time."""
    records = []
    for k in range(40):
        at_s = k / 2
        phase = "measure" if k < 20 else "cooldown"
        times = {"due_s": at_s, "sent_s": at_s, "first_text_s": k + 0.9, "end_s": k + 1.0}
        records.append(replace(ONE, index=k, phase=phase, **times))
    found = figures_of(records, OPEN, [Objective("e2e", "p95", 3.5)])
    assert found.requests_per_s == pytest.approx(1.0)
    # Request k takes k / 2 + 1 s: the first six are within the limit.
    assert found.missed == (14,)
    assert found.goodput_rps == pytest.approx(6 / 20)
    assert found.latencies["dispatch_delay"].max == 0.0


def test_an_answer_without_a_time_per_token_meets_no_limit_on_it() -> None:
    """Three of four answers hold one token: nothing tells how long a token takes them."""
    timed = {"due_s": None, "sent_s": 0.0, "first_text_s": 0.1, "end_s": 1.0}
    several = replace(
        ONE, output_tokens=10, chunk_gaps_s=(0.1,) * 9, chunk_tokens=(1,) * 10, **timed
    )
    single = replace(several, output_tokens=1, chunk_gaps_s=(), chunk_tokens=(1,))
    records = [replace(each, index=k) for k, each in enumerate([several, single, single, single])]
    objective = Objective("tpot", "max", 0.2)
    assert [objective.met_by(each) for each in records] == [True, None, None, None]
    found = figures_of(records, CLOSED, [objective])
    assert (found.missed, found.untimed) == ((0,), (3,))
    assert found.requests_per_s is not None
    assert found.goodput_rps == pytest.approx(found.requests_per_s / 4)
    assert "3 answers have no time per token, so they meet no limit on it" in load_notes(
        CLOSED, found
    )
    late = figures_of(records, CLOSED, [Objective("tpot", "max", 0.05)])
    assert (late.missed, late.untimed) == ((1,), (3,))


def test_failures_and_what_they_said_are_kept_apart() -> None:
    failed = replace(ONE, status="timeout", error="no answer", output_tokens=None, end_s=60.0)
    early = replace(failed, phase="warmup", status="connect", error="refused")
    found = figures_of([early, replace(ONE, output_tokens=None), failed, failed], CLOSED)
    assert (found.sent, found.ok, found.failed) == (3, 1, 2)
    assert found.failed_by_kind == {"timeout": 2}
    assert found.unmeasured_failed_by_kind == {"connect": 1}
    assert found.first_errors == {"timeout": "no answer", "connect": "refused"}
    assert found.latencies["e2e"].max == 1.0
    assert (found.uncounted, found.output_tokens_per_s) == (1, None)


def test_nothing_measured() -> None:
    found = figures_of([replace(ONE, phase="warmup")], CLOSED)
    assert (found.sent, found.window_s, found.requests_per_s) == (0, None, None)


@pytest.mark.slow
def test_memory_does_not_follow_the_number_of_requests(monkeypatch) -> None:
    monkeypatch.setattr(latency, "EXACT_VALUES", 500)

    class Records:
        """As a spool gives them: one at a time, as often as asked."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __iter__(self) -> Iterator[RequestRecord]:
            for index in range(self.count):
                end_s = index + 1.0 + index % 97 / 100
                yield replace(ONE, index=index, sent_s=float(index), end_s=end_s)

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert figures_of(Records(count), CLOSED).ok == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(500)  # what is made once
    # A record takes some 1,500 bytes, the eight figures of one request some 250.
    assert (peak(8_000) - peak(2_000)) / 6_000 < 20


def record(
    phase: Phase,
    sent_s: float,
    first_text_s: float | None,
    end_s: float,
    tokens: int | None = 10,
    status: str = "ok",
) -> RequestRecord:
    times = {"sent_s": sent_s, "first_text_s": first_text_s, "end_s": end_s}
    return replace(ONE, phase=phase, output_tokens=tokens, status=status, **times)


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


def of(records: list[RequestRecord], *objectives: Objective, point: LoadPoint = CLOSED):
    return figures_of(records, point, objectives)


def test_window_of_a_closed_loop_runs_from_first_measured_send_to_last_measured_end() -> None:
    window = of(LOAD).window
    assert window is not None
    assert (window.start_s, window.stop_s, of(LOAD).window_s) == (10.0, 20.0, 10.0)


def test_closed_loop_counts_answers_of_any_phase_by_their_share_of_the_window() -> None:
    # 2 s of 6 of the warm-up, both measured ones, 4 s of 7 of the cool-down
    assert of(LOAD).requests_per_s == pytest.approx((2 / 6 + 2 + 4 / 7) / 10)


def test_open_loop_counts_answers_to_requests_that_were_due_in_the_window() -> None:
    due = [replace(each, due_s=each.sent_s) for each in LOAD]
    # Due at 10, 12 and 15 s, one of them failed; at 0.5/s the third has 2 s of its own.
    found = of(due, point=LoadPoint(rate=0.5))
    assert found.window_s == pytest.approx(7.0)
    assert found.requests_per_s == pytest.approx(2 / 7)
    assert found.output_tokens_per_s == pytest.approx(20 / 7)


def test_a_wave_that_ends_with_the_window_s_start_is_not_counted() -> None:
    # Two workers in step, one second an answer; one ends a moment after the other's next began.
    waves = [
        record("warmup", 0, 0.5, 1.0),
        record("warmup", 0, 0.5, 1.001),
        record("measure", 1.0, 1.5, 2.0),
        record("measure", 1.001, 1.5, 2.001),
    ]
    assert of(waves).requests_per_s == pytest.approx(2.0, rel=0.01)


def test_one_client_at_a_time_is_not_counted_one_too_many() -> None:
    # Back to back at one second each: an end at the window's start belongs to what was before.
    chain = [record("warmup", 0, 0.5, 1), record("measure", 1, 1.5, 2), record("measure", 2, 2, 3)]
    assert of(chain).requests_per_s == 1.0


def test_tokens_count_in_proportion_to_the_time_inside() -> None:
    # 5 of the warm-up, 10 and 10 of the measured, 2.5 of the cool-down
    assert of(LOAD).output_tokens_per_s == pytest.approx(27.5 / 10)


@pytest.mark.parametrize(("end_s", "tokens"), [(9.0, 10), (10.0, 10), (15.0, 20), (21.0, 10)])
def test_tokens_of_one_chunk_come_at_its_end(end_s: float, tokens: int) -> None:
    load = [record("measure", 10.0, 12.0, 20.0), record("warmup", 8.0, end_s, end_s)]
    assert of(load).output_tokens_per_s == pytest.approx(tokens / 10)


def test_an_answer_of_unknown_length_makes_tokens_per_s_null() -> None:
    unknown = record("warmup", 8.0, 9.0, 11.0, tokens=None)
    outside = record("warmup", 1.0, 2.0, 3.0, tokens=None)
    assert of([*LOAD, unknown]).output_tokens_per_s is None
    assert of([*LOAD, outside]).output_tokens_per_s == pytest.approx(27.5 / 10)


def test_goodput_is_the_share_of_the_rate_that_meets_every_objective() -> None:
    rate = of(LOAD).requests_per_s
    ttft, e2e = (lambda s: Objective("ttft", "max", s)), (lambda s: Objective("e2e", "max", s))
    assert of(LOAD, ttft(1.0), e2e(5.0)).goodput_rps == rate
    assert of(LOAD, ttft(0.9)).goodput_rps == 0.0
    assert of(LOAD, e2e(4.9)).goodput_rps == 0.0
    slow = record("measure", 11.0, 15.0, 19.0)
    silent = record("measure", 11.0, None, 12.0, tokens=0)
    # The timeout of LOAD is no answer, and so is in neither.
    four = of([*LOAD, slow, silent], ttft(1.0))
    assert four.goodput_rps == pytest.approx(four.requests_per_s * 2 / 4)
    assert four.missed == (3,)
    four = of([*LOAD, slow, silent], e2e(5.0))
    assert four.goodput_rps == pytest.approx(four.requests_per_s * 3 / 4)


@pytest.mark.parametrize("load", [[], LOAD[:2], [record("measure", 1.0, 1.0, 1.0)]])
def test_without_a_window_there_are_no_rates(load: list[RequestRecord]) -> None:
    found = of(load, Objective("ttft", "max", 1.0))
    assert found.window_s is found.requests_per_s is found.output_tokens_per_s is None
    assert found.goodput_rps is None
    assert "no measured time" in (found.rate_reason or "")


def test_a_window_of_failures_has_a_rate_of_zero() -> None:
    failed = [record("measure", 0.0, None, 4.0, tokens=None, status="timeout")]
    found = of(failed, Objective("ttft", "max", 1.0))
    assert found.requests_per_s == found.output_tokens_per_s == found.goodput_rps == 0.0


def test_a_burst_counts_as_a_whole_whichever_of_it_are_measured() -> None:
    """Four at a time every 2 s; the first and the last two of 12 warm up and cool down."""
    point = LoadPoint(rate=2.0, arrivals="burst", shape=4)
    phases: list[Phase] = ["warmup"] * 2 + ["measure"] * 8 + ["cooldown"] * 2
    burst = [
        replace(ONE, phase=phase, due_s=k // 4 * 2.0, sent_s=k // 4 * 2.0, end_s=k // 4 * 2.0 + 1)
        for k, phase in enumerate(phases)
    ]
    found = of(burst, point=point)
    assert (found.sent, found.window_s, found.requests_per_s) == (8, 6.0, 2.0)


def test_load_that_was_dropped_counts_what_ended() -> None:
    """Five a second; the load is dropped when 11 have ended, with the others in flight."""
    ended = [
        replace(ONE, due_s=k / 5, sent_s=k / 5, end_s=k / 5 + 1 + k % 2 / 100) for k in range(11)
    ]
    found = figures_of(ended, LoadPoint(rate=5.0, requests=100), complete=False)
    assert found.requests_per_s == pytest.approx(5.0)


def test_what_the_gaps_are_between() -> None:
    assert of([ONE]).itl_unit == "token"
    assert of([ONE, replace(ONE, chunk_tokens=None)]).itl_unit == "chunk"
    assert of([replace(ONE, chunk_gaps_s=(), chunk_tokens=None)]).itl_unit is None
