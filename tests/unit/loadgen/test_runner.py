import asyncio
import errno
import gc
import tracemalloc
from collections import Counter, deque

import pytest

from medsweep.clock import Clock, MonotonicClock
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.mock.server import MockServer, running_mock
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.runner import Load, run_load
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics.request_record import RequestRecord


@pytest.fixture
def load(virtually, make_job):
    """Puts a load on a mock server in virtual time; gives its records and the server."""

    def run(
        timing: MockTiming, point: LoadPoint, **job: object
    ) -> tuple[list[RequestRecord], MockServer]:
        async def main(clock: Clock) -> tuple[list[RequestRecord], MockServer]:
            records: list[RequestRecord] = []
            async with running_mock(timing, clock=clock) as server:
                await run_load(make_job(server.base_url, point, **job), records.append, clock)
            return records, server

        return virtually(main)

    return run


def of_phase(records: list[RequestRecord], phase: str) -> list[RequestRecord]:
    return sorted((r for r in records if r.phase == phase), key=lambda r: r.index)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_closed_loop_phases(virtually, make_job) -> None:
    point = LoadPoint(concurrency=5, requests=16)
    records: list[RequestRecord] = []

    async def main(clock: Clock) -> None:
        timing = MockTiming(ttft_s=0.02, gap_s=0.005, tokens=4)
        async with running_mock(timing, clock=clock) as server:
            await run_load(make_job(server.base_url, point), records.append, clock)
            assert server.in_flight == 0
            assert server.peak == 5
            assert len(server.requests) == len(records)

    virtually(main)
    warmup, measured = of_phase(records, "warmup"), of_phase(records, "measure")
    cooldown = of_phase(records, "cooldown")
    assert (len(warmup), len(measured)) == (5, 16)
    assert 1 <= len(cooldown) <= 2 * 5
    assert sorted(r.index for r in records) == list(range(len(records)))
    assert all(r.status == "ok" and r.due_s is None for r in records)
    # Four prompts, sixteen measured requests: each exactly four times.
    assert set(Counter(r.question_id for r in measured).values()) == {4}


def test_measured_requests_always_have_full_company(load) -> None:
    # One slot, so that requests end one by one and not in waves.
    timing = MockTiming(ttft_s=0.02, tokens=1, slots=1)
    records, _ = load(timing, LoadPoint(concurrency=4, requests=12))
    measured = of_phase(records, "measure")
    for one in measured:
        # Drained, the last would have 2.5 on average: the others would end one by one.
        spans = [min(r.end_s, one.end_s) - max(r.sent_s, one.sent_s) for r in records]
        assert sum(span for span in spans if span > 0) / one.e2e_s > 3.25
    # Measuring begins without draining the warm-up.
    assert measured[0].sent_s < max(r.end_s for r in of_phase(records, "warmup")) - 0.03


def test_many_in_flight_are_not_capped(load) -> None:
    point = LoadPoint(concurrency=150, requests=1, warmup=149)
    _, server = load(MockTiming(ttft_s=0.4, tokens=1), point)
    assert server.peak == 150  # a connector left as it is has a limit of 100


def test_open_loop_measures_from_when_it_was_due(load) -> None:
    """The case of vllm#54101: 20 requests per second for a server that manages 10."""
    point = LoadPoint(rate=20.0, requests=6, warmup=1)
    records, server = load(MockTiming(ttft_s=0.1, tokens=1, slots=1), point)
    assert server.peak > 3
    measured = of_phase(records, "measure")
    assert (len(of_phase(records, "warmup")), len(measured)) == (1, 6)
    assert of_phase(records, "cooldown")
    assert [r.due_s - measured[0].due_s for r in measured] == pytest.approx(
        [k / 20 for k in range(6)]
    )
    # Request k is due at k / 20 and, one after the other, served by (k + 1) / 10.
    true_e2e_s = mean([(k + 1) / 10 - k / 20 for k in range(1, 7)])
    assert mean([r.e2e_s for r in measured]) == pytest.approx(true_e2e_s, abs=0.01)
    # Nothing waits in the client, so that time from sending differs by the dispatch delay alone...
    assert all(0 <= r.dispatch_delay_s < 0.002 for r in measured)
    assert all(r.service_s <= r.e2e_s for r in measured)
    # ...and growing queues show, which a client that waits for its turn would report as 100 ms.
    assert measured[-1].e2e_s - measured[0].e2e_s == pytest.approx(5 / 20, abs=0.01)


def test_open_loop_keeps_sending_until_the_last_measured_one_has_ended(load) -> None:
    point = LoadPoint(rate=50.0, arrivals="poisson", requests=5, warmup=0)
    records, _ = load(MockTiming(ttft_s=0.15, tokens=1), point)
    last_end_s = max(r.end_s for r in of_phase(records, "measure"))
    cooldown = of_phase(records, "cooldown")
    assert len(cooldown) >= 3
    assert all(r.due_s <= last_end_s for r in cooldown)


def test_open_loop_ends_without_waiting_for_the_next_arrival(load) -> None:
    point = LoadPoint(rate=0.05, requests=1, warmup=0)
    [record], server = load(MockTiming(ttft_s=0.0, tokens=1), point)
    assert record.phase == "measure"
    assert server.clock.now() < 1.0  # the next would arrive after 20 s


@pytest.mark.parametrize(
    "point", [LoadPoint(concurrency=3, requests=50), LoadPoint(rate=500.0, requests=50)]
)
async def test_aborts_when_too_much_fails(make_job, point: LoadPoint) -> None:
    records: list[RequestRecord] = []
    async with running_mock(MockTiming(fail="http_429")) as server:
        with pytest.raises(LoadAborted, match="10 of 10 requests failed: http_429 10"):
            await run_load(make_job(server.base_url, point), records.append, MonotonicClock())
    # Requests that ended in the same turn of the loop are still recorded.
    assert 10 <= len(records) < 50


def test_answers_of_a_whole_wave_are_not_parsed_at_one_go(make_job, virtually) -> None:
    """What arrives while they are parsed is stamped late."""
    in_turn: Counter[float] = Counter()

    async def main(clock: Clock) -> None:
        async with running_mock(MockTiming(ttft_s=0.1, tokens=1), clock=clock) as server:
            job = make_job(server.base_url, LoadPoint(concurrency=250, requests=250))
            # Every turn of the loop has a time of its own.
            await run_load(job, lambda _: in_turn.update([clock.now()]), clock)

    virtually(main)
    assert in_turn.total() >= 500
    *others, _ = sorted(in_turn.values())  # the greatest is what was left when the load was over
    assert max(others) <= 6


def test_failures_below_the_limit_are_only_counted(load) -> None:
    point = LoadPoint(concurrency=2, requests=12)
    records, _ = load(MockTiming(fail="http_500"), point, max_error_rate=1.0)
    assert Counter(r.status for r in of_phase(records, "measure")) == {"http_500": 12}


def test_duration_measures_what_is_sent_in_it(load) -> None:
    point = LoadPoint(concurrency=3, duration_s=0.3)
    records, _ = load(MockTiming(ttft_s=0.02, tokens=1), point)
    warmup, measured = of_phase(records, "warmup"), of_phase(records, "measure")
    assert len(warmup) == 3
    assert 36 < len(measured) <= 45
    start_s = measured[0].sent_s
    assert all(record.sent_s < start_s + 0.3 for record in measured)
    assert all(record.sent_s >= start_s + 0.3 for record in of_phase(records, "cooldown"))


@pytest.mark.slow
def test_duration_of_an_open_loop_and_of_a_server_that_is_silent(virtually, make_job) -> None:
    async def main(clock: Clock) -> list[list[RequestRecord]]:
        found = []
        for timing in (MockTiming(ttft_s=0.5, tokens=1), MockTiming(fail="hang")):
            async with running_mock(timing, clock=clock) as server:
                point = LoadPoint(rate=2.0, duration_s=600.0)
                job = make_job(server.base_url, point, max_error_rate=1.0, timeout_s=20.0)
                records: list[RequestRecord] = []
                await run_load(job, records.append, clock)
                found.append(records)
        return found

    answered, silent = virtually(main)
    assert len(of_phase(answered, "measure")) == len(of_phase(silent, "measure")) == 1200
    assert {record.status for record in silent} == {"timeout"}


def test_replay_sends_when_it_happened(virtually, make_job) -> None:
    due_s = (0.0, 0.0, 3.0, 3.5, 100.0)

    async def main(clock: Clock) -> list[RequestRecord]:
        records: list[RequestRecord] = []
        async with running_mock(MockTiming(tokens=1), clock=clock) as server:
            job = make_job(server.base_url, LoadPoint(due_s=due_s))
            await run_load(job, records.append, clock)
        return records

    records = sorted(virtually(main), key=lambda record: record.index)
    assert {record.phase for record in records} == {"measure"}
    sent_s = [record.sent_s - records[0].sent_s for record in records]
    assert sent_s == pytest.approx(due_s, abs=0.002)


@pytest.mark.parametrize("point", [LoadPoint(concurrency=7, requests=30), LoadPoint(rate=50.0)])
def test_parts_of_a_load_are_the_load(virtually, make_job, point: LoadPoint) -> None:
    async def main(clock: Clock) -> list[list[RequestRecord]]:
        found = []
        async with running_mock(MockTiming(ttft_s=0.1, tokens=1), clock=clock) as server:
            for parts in (1, 3):
                records: list[RequestRecord] = []
                loads = []
                for shard in range(parts):
                    job = make_job(server.base_url, point, shard=shard, shards=parts)
                    loads.append((job, Load(job, records.append, clock)))
                async with asyncio.TaskGroup() as group:
                    for job, part in loads:
                        group.create_task(run_load(job, records.append, clock, part))
                    for _, part in loads:
                        await part.measured.wait()
                    for _, part in loads:
                        part.stop()
                found.append(records)
        return found

    whole, split = virtually(main)
    for phase in ("warmup", "measure"):
        one, other = of_phase(whole, phase), of_phase(split, phase)
        assert [record.index for record in one] == [record.index for record in other]
        assert Counter(r.question_id for r in one) == Counter(r.question_id for r in other)
        if point.rate is not None:
            one_s, other_s = ([r.due_s - some[0].due_s for r in some] for some in (one, other))
            assert one_s == pytest.approx(other_s)
    if point.concurrency is not None:
        first = min(record.sent_s for record in split)
        assert sum(record.sent_s < first + 0.05 for record in split) == point.concurrency


def test_progress_counts_requests_in_flight_that_have_missed(virtually, make_job) -> None:
    point = LoadPoint(rate=200.0, requests=40, warmup=0)
    limits_s = (("ttft", 0.05), ("e2e", 0.05), ("ttft", 60.0))
    objectives = tuple(Objective(latency, "max", limit_s) for latency, limit_s in limits_s)

    async def main(clock: Clock) -> None:
        async with running_mock(MockTiming(ttft_s=30.0), clock=clock) as server:
            job = make_job(server.base_url, point, objectives=objectives)
            part = Load(job, lambda _: None, clock)
            running = asyncio.create_task(run_load(job, lambda _: None, clock, part))
            async with asyncio.timeout(4):
                while part.progress()["missed"][0] < 40:
                    await asyncio.sleep(0.01)
            assert part.progress()["missed"] == [40, 40, 0]
            assert part.progress()["in_flight"] >= 40
            part.stop(drop=True)
            with pytest.raises(LoadAborted, match="stopped"):
                await running

    virtually(main)


@pytest.mark.slow
def test_memory_of_a_long_load_does_not_grow(virtually, make_job) -> None:
    """Hours of virtual time: what a request leaves behind would show as a slope."""
    heights = []

    async def main(clock: Clock) -> None:
        count = 0

        def take(_: RequestRecord) -> None:
            nonlocal count
            count += 1
            if count % 1000 == 0:
                gc.collect()
                heights.append(tracemalloc.get_traced_memory()[0])

        timing = MockTiming(ttft_s=1.0, tokens=2, fail="http_500", fail_share=0.2)
        async with running_mock(timing, clock=clock) as server:
            point = LoadPoint(concurrency=8, requests=5990, warmup=0)
            job = make_job(server.base_url, point, keep_text=False)
            server.requests = deque(maxlen=1)
            await run_load(job, take, clock)

    tracemalloc.start()
    try:
        virtually(main)
    finally:
        tracemalloc.stop()
    assert len(heights) == 5
    bytes_per_request = (heights[-1] - heights[1]) / 3000
    assert bytes_per_request < 8


async def test_fault_of_our_own_ends_the_load(make_job, caplog) -> None:
    def fail(_: RequestRecord) -> None:
        raise ZeroDivisionError

    async with running_mock(MockTiming(ttft_s=0.0, tokens=1)) as server:
        job = make_job(server.base_url, LoadPoint(concurrency=2, requests=5))
        with pytest.raises(ZeroDivisionError):
            await run_load(job, fail, MonotonicClock())
    assert "ZeroDivisionError" in caplog.text


async def test_failures_that_take_no_time_do_not_hold_up_the_others(make_job, monkeypatch) -> None:
    """A machine out of file descriptors says so without a turn of the event loop."""

    async def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("medsweep.loadgen.client.ConnectionPool.exchange", exhausted)
    point = LoadPoint(concurrency=3, requests=40)
    records: list[RequestRecord] = []
    job = make_job("http://127.0.0.1:9/v1", point, max_error_rate=1.0)
    await run_load(job, records.append, MonotonicClock())
    assert {record.status for record in records} == {"client"}
    assert len(of_phase(records, "measure")) == 40
