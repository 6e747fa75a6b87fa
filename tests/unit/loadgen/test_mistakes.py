"""What other load generators got wrong, each with the thread where it was found."""

from itertools import islice, pairwise

import numpy as np
import pytest

from medsweep.clock import Clock
from medsweep.loadgen.figures import LoadFigures, figures_of
from medsweep.loadgen.mock.server import MockServer, running_mock
from medsweep.loadgen.mock.timing import MockTiming, script_of
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.runner import run_load
from medsweep.loadgen.schedule import due_times
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics.request_record import RequestRecord

TURN_S = 0.002  # what turns of the virtual loop add up to in one request


@pytest.fixture
def load(virtually, make_job):
    """Put a load on a mock server in virtual time; gives records, figures and the server."""

    def run(
        timing: MockTiming, point: LoadPoint, **job
    ) -> tuple[list[RequestRecord], LoadFigures, MockServer]:
        async def main(clock: Clock) -> tuple[list[RequestRecord], LoadFigures, MockServer]:
            records: list[RequestRecord] = []
            async with running_mock(timing, clock=clock) as server:
                await run_load(make_job(server.base_url, point, **job), records.append, clock)
            return records, figures_of(records, point), server

        return virtually(main)

    return run


def test_latency_runs_from_the_due_time(load) -> None:
    """vllm#54101, guidellm#1048: a client that waits for its turn reports the service time."""
    timing = MockTiming(ttft_s=0.5, tokens=1, slots=1)
    point = LoadPoint(rate=10.0, requests=20, warmup=0)
    _, figures, _ = load(timing, point, timeout_s=60.0)
    # Request k is due at k / 10 and ends, one after the other, at (k + 1) / 2.
    true_s = sum((k + 1) / 2 - k / 10 for k in range(20)) / 20
    assert true_s == pytest.approx(4.3)
    assert figures.latencies["e2e"].mean == pytest.approx(true_s, abs=20 * TURN_S)
    assert figures.latencies["dispatch_delay"].max < TURN_S


def test_time_per_token_leaves_out_the_time_to_the_first(load) -> None:
    """guidellm#1144, vllm#7242."""
    timing = MockTiming(ttft_s=2.0, gap_s=0.01, tokens=11)
    _, figures, _ = load(timing, LoadPoint(concurrency=2, requests=12))
    assert figures.latencies["tpot"].mean == pytest.approx(0.01, abs=0.0002)
    assert figures.latencies["ttft"].mean == pytest.approx(2.0, abs=TURN_S)


def test_chunk_is_not_taken_for_a_token(load) -> None:
    """inference-perf#364."""
    timing = MockTiming(ttft_s=0.1, gap_s=0.01, tokens=16, tokens_per_chunk=4)
    records, figures, _ = load(timing, LoadPoint(concurrency=1, requests=4))
    assert figures.output_tokens_mean == 16
    assert {len(record.chunk_gaps_s) for record in records} == {3}
    # A chunk of four every 40 ms is a token every 10 ms.
    assert figures.latencies["itl"].mean == pytest.approx(0.01, abs=0.0002)
    assert figures.latencies["itl"].samples == 4 * 12


def test_role_and_comments_are_not_the_first_text(load) -> None:
    """inference-perf PR#452."""
    timing = MockTiming(ttft_s=0.8, keep_alive_comments=True, role_only_first=True, tokens=3)
    records, figures, _ = load(timing, LoadPoint(concurrency=1, requests=4))
    assert figures.latencies["ttft"].mean == pytest.approx(0.8, abs=TURN_S)
    assert {len(record.chunk_gaps_s) for record in records} == {2}


@pytest.mark.parametrize(("tokens", "ttft_s"), [(1, 0.3), (0, None)])
def test_one_chunk_or_none_has_no_gaps_of_zero(load, tokens: int, ttft_s: float | None) -> None:
    """sglang#12389."""
    timing = MockTiming(ttft_s=0.3, tokens=tokens)
    _, figures, _ = load(timing, LoadPoint(concurrency=1, requests=12))
    for latency in ("itl", "tpot"):
        assert figures.latencies[latency].samples == 0
        assert figures.latencies[latency].mean is None
    measured = figures.latencies["ttft"].mean
    assert measured is None if ttft_s is None else measured == pytest.approx(ttft_s, abs=TURN_S)
    assert figures.empty == (12 if tokens == 0 else 0)


def test_concurrency_is_not_capped(load) -> None:
    """guidellm#487."""
    _, figures, server = load(
        MockTiming(ttft_s=1.0, tokens=1), LoadPoint(concurrency=300, requests=300)
    )
    assert server.peak == 300
    assert figures.requests_per_s == pytest.approx(300, rel=0.05)


def test_long_chunks_are_read_whole(load) -> None:
    """vllm#39963: a limit on the buffer of a line divided throughput by 11."""
    timing = MockTiming(ttft_s=0.1, gap_s=0.0, tokens=60_000, tokens_per_chunk=60_000)
    records, _, _ = load(timing, LoadPoint(concurrency=4, requests=8), max_tokens=60_000)
    assert {(r.status, len(r.text), r.output_tokens) for r in records} == {("ok", 300_000, 60_000)}
    assert max(record.e2e_s for record in records) < 0.2


def test_warm_up_covers_the_first_wave(load) -> None:
    """EvalScope PR#1641."""
    records, _, _ = load(MockTiming(ttft_s=0.2, tokens=1), LoadPoint(concurrency=16, requests=32))
    first_wave = [record for record in records if record.sent_s < 0.1]
    assert len(first_wave) == 16
    assert {record.phase for record in first_wave} == {"warmup"}


def test_constant_rate_is_evenly_spaced(load) -> None:
    """A rate called constant whose gaps are exponential."""
    records, _, _ = load(MockTiming(tokens=1), LoadPoint(rate=20.0, requests=40))
    sent_s = sorted(record.sent_s for record in records)
    gaps_s = [after - before for before, after in pairwise(sent_s)]
    assert gaps_s == pytest.approx([0.05] * len(gaps_s), abs=TURN_S)


def test_rate_is_not_a_wave_too_high(load) -> None:
    """A server that answers in waves; counting up to the last end finds one more than there are."""
    timing = MockTiming(ttft_s=0.3, tokens=1)
    for requests in (64, 100, 128):
        _, figures, _ = load(timing, LoadPoint(concurrency=32, requests=requests))
        assert figures.requests_per_s == pytest.approx(32 / 0.3, rel=0.02)


def test_long_answers_are_not_cut_off_the_sample(load) -> None:
    """Counting what ends within a time leaves out the answers that take longest."""
    timing = MockTiming(ttft_s=0.5, tokens=1, jitter_s=2.0)
    point = LoadPoint(concurrency=64, duration_s=30.0)
    records, figures, server = load(timing, point, timeout_s=600.0)
    measured = [record for record in records if record.phase == "measure"]
    until_s = min(record.sent_s for record in measured) + 30.0
    early = [record.e2e_s for record in measured if record.end_s <= until_s]
    places = range(64, 64 + len(measured))
    scripts = [script_of(timing, server.requests[place], place) for place in places]
    true_s = np.mean([script.steps[-1][0] for script in scripts])
    assert figures.latencies["e2e"].mean == pytest.approx(true_s, rel=0.005)
    assert np.mean(early) < 0.95 * true_s  # what the mistake would report


def test_queue_that_grows_is_told_from_one_that_does_not(load) -> None:
    """A rate above capacity that meets its objective only because the load was short."""
    timing = MockTiming(ttft_s=0.5, tokens=1, slots=10)  # 20 requests a second
    _, over, _ = load(timing, LoadPoint(rate=24.0, requests=240))
    assert over.growth == pytest.approx(24 / 20 - 1, rel=0.05)
    _, under, _ = load(timing, LoadPoint(rate=19.0, requests=190))
    assert under.growth is None


@pytest.mark.parametrize(
    "point",
    [
        LoadPoint(rate=10.0, requests=640),
        LoadPoint(rate=10.0, duration_s=64.0),
        LoadPoint(rate=10.0, requests=640, warmup=0),
        LoadPoint(rate=10.0, requests=640, warmup=120),
        LoadPoint(rate=10.0, requests=650, arrivals="burst", shape=40),
        LoadPoint(due_s=tuple(k / 10 for k in range(640))),
    ],
    ids=lambda point: f"{point.name}-{point.warmup}-{point.duration_s}",
)
def test_rate_of_long_answers_is_the_arrival_rate(load, point: LoadPoint) -> None:
    """A server without limit, 10 s an answer: 10 requests/s come and 10 answers/s leave.

    Counting the answers that end while requests are sent finds none of the first 10 s.
    """
    _, figures, _ = load(MockTiming(ttft_s=10.0, tokens=2), point, timeout_s=60.0)
    assert figures.requests_per_s == pytest.approx(10.0, rel=0.001)
    assert figures.output_tokens_per_s == pytest.approx(20.0, rel=0.001)
    assert figures.growth is None


def test_rate_is_null_where_the_load_is_shorter_than_an_answer(load) -> None:
    """10 s of load at 10 s an answer: nothing tells whether the server keeps up."""
    objective = Objective("e2e", "max", 60.0)
    point = LoadPoint(rate=10.0, requests=100)
    records, _, _ = load(MockTiming(ttft_s=10.0, tokens=2), point, timeout_s=60.0)
    figures = figures_of(records, point, [objective])
    assert figures.ok == 100
    assert figures.requests_per_s is figures.output_tokens_per_s is figures.goodput_rps is None
    assert "10 s and an answer takes 10 s" in (figures.rate_reason or "")


@pytest.mark.parametrize("requests", [2, 16, 64])
def test_rate_of_few_requests_has_no_fence_post(load, requests: int) -> None:
    """16 requests at 2/s take 8 s and not 7.5 s: the last also has half a second of its own."""
    _, figures, _ = load(MockTiming(ttft_s=0.05, tokens=1), LoadPoint(rate=2.0, requests=requests))
    assert figures.window_s == pytest.approx(requests / 2)
    assert figures.requests_per_s == pytest.approx(2.0)


def test_rate_of_a_growing_queue_is_the_server_s_own(load) -> None:
    """30/s for 2 slots of 100 ms: 20/s leave, whatever comes."""
    timing = MockTiming(ttft_s=0.1, tokens=1, slots=2)
    _, figures, _ = load(timing, LoadPoint(rate=30.0, requests=300), timeout_s=60.0)
    assert figures.growth == pytest.approx(30 / 20 - 1, rel=0.05)
    assert figures.requests_per_s == pytest.approx(20.0, rel=0.02)


def test_one_chunk_of_many_tokens_has_no_time_per_token(load) -> None:
    timing = MockTiming(ttft_s=0.3, tokens=700, tokens_per_chunk=700)
    _, figures, _ = load(timing, LoadPoint(concurrency=1, requests=12), max_tokens=700)
    assert (figures.output_tokens_mean, figures.latencies["tpot"].mean) == (700, None)
    assert figures.itl_unit is None


def test_arrivals_say_nothing_of_prompts() -> None:
    """One stream of random numbers for both would give each gap a prompt of its own."""
    rng_of_order = np.random.default_rng(1).exponential(1.0, 50)
    times = list(islice(due_times(LoadPoint(rate=1.0, arrivals="poisson"), seed=1), 50))
    assert np.diff(times, prepend=0.0) != pytest.approx(rng_of_order)


def test_failures_are_not_mixed_into_latency(load) -> None:
    timing = MockTiming(ttft_s=1.0, tokens=1, fail="http_500", fail_share=0.25)
    _, figures, _ = load(timing, LoadPoint(concurrency=1, requests=20), max_error_rate=0.5)
    assert figures.failed_by_kind == {"http_500": 5}
    assert (figures.sent, figures.ok) == (20, 15)
    # A refusal comes at once; the mean of all would be a quarter lower.
    assert figures.latencies["ttft"].mean == pytest.approx(1.0, abs=TURN_S)
    assert figures.latencies["ttft"].samples == 15
