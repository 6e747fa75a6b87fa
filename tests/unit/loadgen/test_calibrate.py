import asyncio
import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from made_rows import calibration, request_record
from medsweep.errors import StageError
from medsweep.loadgen import calibrate as module
from medsweep.loadgen.calibrate import (
    EASY_TOKENS_PER_S,
    calibrate,
    calibrate_fleet,
    compare,
    like_load,
    loads_before,
)
from medsweep.loadgen.calibration import TRUTH, CalibrationLoad
from medsweep.loadgen.connection import Connection
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.mock.timing import MockTiming, stamp
from medsweep.loadgen.spec import LoadPoint

POINT = LoadPoint(concurrency=1, requests=2, warmup=0)


def record(sent_s: float, server_s: list[float], client_s: list[float], **more: Any) -> Any:
    """A request whose texts left the server at some moments and reached the client at others."""
    values: dict[str, Any] = {
        "sent_s": sent_s,
        "first_text_s": client_s[0],
        "end_s": client_s[-1],
        "chunk_gaps_s": tuple(b - a for a, b in itertools.pairwise(client_s)),
        "chunk_tokens": (1,) * len(client_s),
        "output_tokens": len(client_s),
        "text": " ".join(stamp(at_s).decode() for at_s in server_s),
    }
    return request_record(**{**values, **more})


def test_client_error_and_server_lateness_are_told_apart() -> None:
    """The server is 20 and 40 ms late, the client notes 1 and 3 ms, then 5 and 9 ms after it."""
    first = record(10.0, [10.07, 10.08, 10.09], [10.071, 10.083, 10.095])
    second = record(20.0, [20.09, 20.10, 20.11], [20.093, 20.105, 20.119])
    found = compare(POINT, [first, second, record(0, [9.0], [99.0], phase="warmup")])
    assert found.server_late_s == pytest.approx(0.03)
    assert found.errors["ttft"].mean == pytest.approx(0.002)
    assert found.errors["ttft"].max == pytest.approx(0.003)
    assert found.errors["e2e"].mean == pytest.approx((0.005 + 0.009) / 2)
    # Gaps are wrong by 2, 2, 2 and 4 ms; per token that is 2 and 3 ms.
    assert found.errors["itl"].mean == pytest.approx(0.0025)
    assert found.errors["itl"].max == pytest.approx(0.004)
    assert found.errors["tpot"].mean == pytest.approx(0.0025)
    # The server answers in 90 and 110 ms.
    assert found.ideal_requests_per_s == pytest.approx(10.0)


def test_a_failed_request_ends_calibration() -> None:
    with pytest.raises(StageError, match="1 requests failed: timeout"):
        compare(POINT, [record(0, [0.1], [0.1], status="timeout")])


@pytest.mark.parametrize(
    ("reached", "server", "limited"),
    [(0.92, 1.0, True), (0.94, 1.0, False), (1.0, 0.92, None), (0.92, 0.5, True)],
)
def test_who_limited_the_rate(reached: float, server: float, limited: bool | None) -> None:
    """A server that cannot make the load does not show that the client could."""
    assert calibration(4, reached=reached, server=server).client_limited is limited


@pytest.mark.parametrize(
    ("point", "rates", "load"),
    [
        (LoadPoint(concurrency=8), (2.0,), (8, 0.01)),
        (LoadPoint(concurrency=8), (22.3,), (8, 0.01)),
        # A fast server: 1,000 requests a second are 360 at a time of the calibration's.
        (LoadPoint(concurrency=8), (1000.0,), (512, 0.01)),
        (LoadPoint(rate=10.0), (10.0, 5000.0), (64, 0.01)),
        (LoadPoint(rate=10.0), (), (4, 0.01)),  # no rate was measured: the one that was sent
        (LoadPoint(concurrency=1), (), (1, 0.01)),
        (LoadPoint(concurrency=100_000), (), (100_000, 0.01)),
        # Few streams are easy however slow they are.
        (LoadPoint(concurrency=256), (1.0, 100.0), (256, 0.01)),
        # 4,096 streams: 364,089 tokens/s at 10 ms, 195,048 at 20, 81,920 at 50, 41,610 at 100.
        (LoadPoint(concurrency=4096), (600.0, 360_000.0), (4096, 0.01)),
        (LoadPoint(concurrency=4096), (600.0, 190_000.0), (4096, 0.02)),
        (LoadPoint(concurrency=4096), (600.0, 80_000.0), (4096, 0.05)),
        (LoadPoint(concurrency=4096), (20.0, 40_000.0), (4096, 0.1)),
        (LoadPoint(concurrency=4096), (1.0, 10.0), (4096, 0.1)),
        # Short answers: 4,000 requests a second are 128,000 tokens of the calibration's.
        (LoadPoint(concurrency=4096), (4000.0, 4000.0), (4096, 0.02)),
    ],
)
def test_calibrated_where_the_client_works_as_hard(point, rates, load) -> None:
    assert like_load(point, *rates) == CalibrationLoad(*load)


@pytest.mark.parametrize("concurrency", [300, 1000, 4096, 50_000])
def test_a_calibration_is_no_lighter_than_the_load_and_no_more_than_it_must_be(concurrency) -> None:
    for tokens_per_s in (1e3, 1e4, 3e4, 1e5, 3e5, 1e6, 4e6):
        load = like_load(LoadPoint(concurrency=concurrency), 0.0, tokens_per_s)
        assert load.tokens_per_s >= 0.95 * tokens_per_s
        assert load.timing.service_s < 3.2
        # The next gap is at most 2.5 times as long; a rate that is too high doubles at most.
        if load.concurrency == concurrency and load.gap_s < 0.1:
            assert load.tokens_per_s < 2.5 * tokens_per_s


def test_before_a_load_only_what_is_known_is_calibrated() -> None:
    points = [LoadPoint(concurrency=n) for n in (8, 256, 300, 4096)] + [LoadPoint(rate=1000.0)]
    assert loads_before(points) == {CalibrationLoad(n) for n in (8, 256, 512)}
    assert CalibrationLoad(256).tokens_per_s < EASY_TOKENS_PER_S < CalibrationLoad(300).tokens_per_s


def test_the_search_for_the_honest_rate_ends_where_the_server_gives_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def measure(fleet: object, url: str, load: CalibrationLoad, requests: int) -> Any:
        tried.append(load.concurrency)
        return calibration(load.concurrency, server=1.0 if load.concurrency < 32 else 0.5)

    monkeypatch.setattr(module, "_measure", measure)
    monkeypatch.setattr(module, "_mock_process", lambda: running_nothing())
    rate, is_limit = module.highest_honest_rate(Fleet(0), [calibration(8)])
    assert tried == [16, 32]
    assert (rate, is_limit) == (pytest.approx(16 / TRUTH.service_s), False)


class running_nothing:  # noqa: N801 stands for a function
    def __enter__(self) -> str:
        return ""

    def __exit__(self, *_: object) -> None:
        pass


def test_a_mock_server_that_does_not_start_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.sys, "executable", "/no/such/python")
    match = "the mock server does not start: /no/such/python: No such file"
    with pytest.raises(StageError, match=match):
        calibrate_fleet(Fleet(0), [CalibrationLoad(1)])


@pytest.mark.slow
def test_calibrates_against_a_server_of_its_own() -> None:
    loads = [CalibrationLoad(1), CalibrationLoad(6)]
    one, six = calibrate(loads, requests_per_worker=4)
    assert (one.concurrency, six.concurrency) == (1, 6)
    for found in (one, six):
        # On one clock nothing comes before it was sent; how long after depends on the machine.
        assert 0 < found.errors["ttft"].mean <= found.errors["ttft"].max
        # Timers are whole milliseconds: the server may be late but hardly early.
        assert found.server_late_s > -0.001
        assert found.concurrency / found.ideal_requests_per_s > 0.36 - 0.001
        assert found.requests_per_s > 0


@pytest.mark.parametrize("concurrency", [1, 6])
def test_a_client_and_a_server_that_are_in_time(virtual_fleet, concurrency: int) -> None:
    load = CalibrationLoad(concurrency)
    fleet = virtual_fleet(replace(load.timing, stamps=True))
    found = module._measure(fleet, "http://unused/v1", load, 4 * concurrency)
    assert 0 < found.errors["ttft"].mean <= found.errors["ttft"].max < 0.002
    assert abs(found.errors["itl"].mean) < 0.0005
    assert found.errors["e2e"].max < 0.002
    assert found.server_late_s == pytest.approx(0.0, abs=0.002)
    # 50 ms to the first of 32 tokens, 10 ms between them.
    assert found.ideal_requests_per_s == pytest.approx(concurrency / 0.36, rel=0.01)
    assert found.requests_per_s == pytest.approx(found.ideal_requests_per_s, rel=0.05)
    assert found.client_limited is False


@pytest.mark.slow
def test_each_load_has_the_gaps_that_it_names() -> None:
    loads = [CalibrationLoad(2, 0.05), CalibrationLoad(2), CalibrationLoad(3, 0.05)]
    with Fleet(1) as fleet:
        found = calibrate_fleet(fleet, loads, requests_per_worker=1)
    assert [each.concurrency for each in found] == [2, 2, 3]
    # Truth: 50 ms, then 31 gaps.
    assert [each.service_s for each in found] == pytest.approx([1.6, 0.36, 1.6])
    for each in found:
        # A server may be late but never early, and its ideal rate is its own.
        assert each.ideal_requests_per_s < 1.01 * each.concurrency / each.service_s


@pytest.fixture
def held_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the client for 120 ms after every 80 to 180 ms: requests do not fall into step.

    As where the process is stopped: what comes meanwhile is received when it continues.
    """
    receive, pauses = Connection.data_received, random.Random(0)
    holds: list[tuple[float, float]] = [(-1.0, -1.0)]
    waiting: list[tuple[Connection, bytes]] = []

    def resume() -> None:
        received = waiting.copy()
        waiting.clear()
        for connection, data in received:
            receive(connection, data)

    def data_received(connection: Connection, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while holds[-1][1] < loop.time():
            begins_s = holds[-1][1] + pauses.uniform(0.08, 0.18)
            holds.append((begins_s, begins_s + 0.12))
        begins_s, ends_s = holds[-1]
        if loop.time() < begins_s:
            receive(connection, data)
            return
        if not waiting:
            loop.call_at(ends_s, resume)
        waiting.append((connection, data))

    monkeypatch.setattr(Connection, "data_received", data_received)


def test_a_late_server_is_no_error_of_the_client(virtual_fleet) -> None:
    fleet = virtual_fleet(MockTiming(ttft_s=TRUTH.ttft_s + 0.1, tokens=8, stamps=True))
    found = module._measure(fleet, "http://unused/v1", CalibrationLoad(4), 40)
    assert found.server_late_s == pytest.approx(0.1, abs=0.002)
    assert found.errors["ttft"].mean < 0.002


@pytest.mark.usefixtures("held_client")
def test_a_held_client_is_no_lateness_of_the_server(virtual_fleet) -> None:
    """Nearly half of the texts come while it is held, and wait for 60 ms on average."""
    fleet = virtual_fleet(MockTiming(tokens=8, stamps=True))
    found = module._measure(fleet, "http://unused/v1", CalibrationLoad(4), 40)
    assert 0.06 < found.errors["ttft"].max < 0.122
    assert 0.01 < found.errors["ttft"].mean < 0.06
    assert found.server_late_s == pytest.approx(0.0, abs=0.002)
