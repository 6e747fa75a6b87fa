import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from medsweep.loadgen import reservoir as sample
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.objective import Objective
from medsweep.metrics.request_record import RequestRecord

ONE = RequestRecord(
    index=0,
    phase="measure",
    question_id="q",
    due_s=None,
    sent_s=0.0,
    first_text_s=0.5,
    end_s=1.0,
    chunk_gaps_s=(0.25, 0.25),
    chunk_tokens=(1, 1, 1),
    prompt_tokens=7,
    output_tokens=3,
    token_source="usage",
    finish_reason="stop",
    status="ok",
    error=None,
    text="",
)


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
    found = figures_of(closed_loop(8, rounds))
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
    found = figures_of(records, [Objective("e2e", "p95", 3.5)])
    assert found.requests_per_s == pytest.approx(1.0)
    # Request k takes k / 2 + 1 s: the first six are within the limit.
    assert found.late == (14,)
    assert found.goodput_rps == pytest.approx(6 / 20)
    assert found.latencies["dispatch_delay"].max == 0.0


def test_failures_and_what_they_said_are_kept_apart() -> None:
    failed = replace(ONE, status="timeout", error="no answer", output_tokens=None, end_s=60.0)
    early = replace(failed, phase="warmup", status="connect", error="refused")
    found = figures_of([early, replace(ONE, output_tokens=None), failed, failed])
    assert (found.sent, found.ok, found.failed) == (3, 1, 2)
    assert found.failed_by_kind == {"timeout": 2}
    assert found.unmeasured_failed_by_kind == {"connect": 1}
    assert found.words == {"timeout": "no answer", "connect": "refused"}
    assert found.latencies["e2e"].max == 1.0
    assert (found.uncounted, found.output_tokens_per_s) == (1, None)


def test_nothing_measured() -> None:
    found = figures_of([replace(ONE, phase="warmup")])
    assert (found.sent, found.window_s, found.requests_per_s) == (0, None, None)


def test_memory_does_not_follow_the_number_of_requests(monkeypatch) -> None:
    monkeypatch.setattr(sample, "EXACT_VALUES", 500)

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
            assert figures_of(Records(count)).ok == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(500)  # what is made once
    # A record takes some 1,500 bytes, the eight figures of one request some 250.
    assert (peak(8_000) - peak(2_000)) / 6_000 < 20
