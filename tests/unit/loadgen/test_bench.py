import json
import math
from dataclasses import replace
from typing import Any

import pytest

from made_rows import calibration, request_record, summarise
from medsweep.errors import EnvironmentFault
from medsweep.loadgen import bench as bench_module
from medsweep.loadgen.bench import Bench, MeasuredPoint, Spool, shuffled_repeats
from medsweep.loadgen.bench_results import RequestsFile, notes, over_repeats, point_json
from medsweep.loadgen.figures import LoadFigures, figures_of
from medsweep.loadgen.find_max import outcome_of
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.mock.timing import MockTiming
from medsweep.loadgen.objective import parse_objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.schema import REQUESTS
from medsweep.results.store import read_rows

POINTS = [LoadPoint(concurrency=1), LoadPoint(concurrency=8), LoadPoint(rate=2.0)]
NOTHING = figures_of([], POINTS[0])


def figures(**changes: object) -> LoadFigures:
    return replace(NOTHING, **changes)


def test_repeats_are_interleaved_and_shuffled_by_seed() -> None:
    assert shuffled_repeats(POINTS, 1, seed=5) == [(point, 1) for point in POINTS]
    order = shuffled_repeats(POINTS, 20, seed=5)
    turns = [order[place : place + 3] for place in range(0, 60, 3)]
    for number, turn in enumerate(turns, start=1):
        assert {repeat for _, repeat in turn} == {number}
        assert {point for point, _ in turn} == set(POINTS)
    assert len({tuple(point for point, _ in turn) for turn in turns}) > 2
    assert order == shuffled_repeats(POINTS, 20, seed=5)
    assert order != shuffled_repeats(POINTS, 20, seed=6)


def test_client_limited_by_calibration_or_by_its_own_lateness() -> None:
    def measured(delay_s: float | None, reached: float = 1.0) -> MeasuredPoint:
        latencies = {**NOTHING.latencies, "dispatch_delay": summarise([delay_s])}
        made = calibration(reached=reached)
        return MeasuredPoint(
            LoadPoint(rate=1.0), 1, figures(latencies=latencies), calibrations=(made,)
        )

    assert not measured(None).client_limited
    assert not measured(0.004).client_limited
    assert measured(0.006).client_limited
    assert measured(None, reached=0.9).client_limited
    assert "limited by the client, not the server" in notes(measured(0.006))


def test_failure_of_the_client_s_own_limits_it() -> None:
    assert MeasuredPoint(POINTS[0], 1, figures(failed_by_kind={"client": 1})).client_limited
    assert not MeasuredPoint(POINTS[0], 1, figures(failed_by_kind={"connect": 1})).client_limited


@pytest.mark.parametrize(
    ("point", "answer_s", "growth", "said"),
    [
        (LoadPoint(rate=10.0), 4.01, None, ["use a warmup of 41 requests"]),
        (LoadPoint(rate=10.0, warmup=41), 4.01, None, []),
        (LoadPoint(rate=10.0), 0.9, None, []),
        (LoadPoint(concurrency=4), 9.0, None, []),
        (LoadPoint(rate=10.0), 4.0, 0.25, ["0.25 s longer for each second of load"]),
    ],
)
def test_open_loop_that_is_not_at_its_level_says_so(point, answer_s, growth, said) -> None:
    latencies = {**NOTHING.latencies, "e2e": summarise([answer_s])}
    found = notes(MeasuredPoint(point, 1, figures(latencies=latencies, growth=growth)))
    assert len(found) == len(said)
    assert all(part in note for part, note in zip(said, found, strict=True))


def test_json_of_a_load_where_nothing_got_through() -> None:
    found = figures(unmeasured_failed_by_kind={"connect": 10})
    point = point_json(MeasuredPoint(LoadPoint(concurrency=64), 1, found, "10 of 10 failed", True))
    assert (point["status"], point["ended_early"]) == ("failed", "10 of 10 failed")
    assert point["requests"] == {
        "sent": 10,
        "ok": 0,
        "failed": 10,
        "failed_by_kind": {"connect": 10},
        "empty": 0,
    }
    assert point["requests_per_s"] is None


def test_intervals_over_repeats() -> None:
    results = [
        MeasuredPoint(LoadPoint(concurrency=1), repeat, figures(requests_per_s=rate))
        for repeat, rate in enumerate([9.0, 10.0, 11.0], start=1)
    ]
    [row] = over_repeats([*results, replace(results[0], gave_up=True)])
    assert (row["load"], row["repeats"], row["ttft_mean_s"]) == ("c1", 3, None)
    assert row["requests_per_s"]["mean"] == 10.0
    assert row["requests_per_s"]["cv"] == pytest.approx(0.1)
    # t(0.975, 2) = 4.303, s = 1, n = 3; on the logarithm of the mean
    high = 10 * math.exp(4.303 / 3**0.5 / 10)
    assert row["requests_per_s"]["high"] == pytest.approx(high, abs=0.001)


def test_verdicts_of_few_requests(make_job, virtual_fleet, tmp_path) -> None:
    """Answers of 58 ms: none misses 4 s, and all miss 10 ms."""
    fleet = virtual_fleet(MockTiming(ttft_s=0.058, tokens=1, slots=2))

    def verdict(objective: str, requests: int) -> dict[str, object]:
        bench = Bench(make_job("http://unused/v1"), fleet, [parse_objective(objective)], tmp_path)
        entry = point_json(bench.measure(LoadPoint(concurrency=1, requests=requests)))
        return {name: entry[name] for name in ("met", "met_reason")}

    assert verdict("ttft_p95=4s", 30) == {"met": True, "met_reason": None}
    assert verdict("ttft_p95=10ms", 10) == {"met": False, "met_reason": None}
    assert verdict("ttft_p95=10ms", 1) == {
        "met": None,
        "met_reason": "ttft_p95=0.01s needs 130 requests",
    }


def test_hopeless_point_ends_early_and_records_go_to_parquet(
    make_job, virtual_fleet, tmp_path
) -> None:
    fleet = virtual_fleet(MockTiming(ttft_s=0.1, tokens=1, slots=2))
    objectives = [parse_objective("ttft_p50=0.3s")]
    bench = Bench(make_job("http://unused/v1"), fleet, objectives, tmp_path)
    file = RequestsFile(tmp_path)
    bench.on_records = file.add
    met = bench.measure(LoadPoint(concurrency=2, requests=12), hopeless_ends=True)
    missed = bench.measure(LoadPoint(concurrency=16, requests=100), hopeless_ends=True)
    whole = bench.measure(LoadPoint(concurrency=8, requests=8))
    file.close()
    assert (met.met, met.ended_early) == (True, None)
    assert missed.met is False
    assert "ttft_p50=0.3s cannot be met" in (missed.ended_early or "")
    assert not missed.gave_up
    assert missed.figures.sent < 100
    # Eight in flight and two slots: every answer takes 0.4 s or more.
    assert (whole.met, whole.figures.ok) == (False, 8)
    rows = read_rows(tmp_path / "requests.parquet")
    assert list(rows[0]) == [column.name for column in REQUESTS]
    assert sum(row["load_point"] == "c2" for row in rows) >= 14
    measured = [row for row in rows if row["load_point"] == "c8" and row["phase"] == "measure"]
    assert len(measured) == 8
    assert all(row["ttft_s"] >= 0.1 and row["chunk_gaps_s"] == [] for row in measured)


def test_two_load_tests_may_write_into_one_folder(tmp_path) -> None:
    point, record = LoadPoint(concurrency=1), request_record()
    one, other = RequestsFile(tmp_path), RequestsFile(tmp_path)
    one.add(point, 1, [record])
    other.add(point, 1, [record, replace(record, index=1)])
    file = tmp_path / "requests.parquet"
    one.close()
    assert [row["index"] for row in read_rows(file)] == [record.index]
    other.close()
    assert [row["index"] for row in read_rows(file)] == [record.index, 1]
    assert list(tmp_path.iterdir()) == [file]


def test_spool_gives_back_what_it_took_as_often_as_asked(tmp_path) -> None:
    record = request_record(chunk_gaps_s=(0.5,), chunk_tokens=(1, 1), output_tokens=2)
    records = [replace(record, index=index) for index in range(5)]
    with Spool(tmp_path) as spool:
        for each in records:
            spool.write(json.dumps({"record": each.to_json()}).encode() + b"\n")
        assert list(spool) == records
        assert list(spool) == records
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        Spool(tmp_path / "absent")


@pytest.mark.parametrize(
    ("took_s", "made", "met", "reason"),
    [
        (0.4, {}, True, None),
        (0.6, {}, False, None),
        # A tenth of 0.6 s may be the client's: that it is over 0.5 s does not judge the server.
        (0.6, {"error_s": 0.061}, None, "more than a tenth is the client's own error: ttft_mean_s"),
        (0.4, {"error_s": 0.061}, True, None),
        (0.6, {"reached": 0.9}, None, "the client limited the load"),
        (0.4, {"reached": 0.9}, None, "the client limited the load"),
    ],
)
def test_what_the_client_caused_judges_no_server(
    took_s, made, met, reason, make_job, monkeypatch
) -> None:
    monkeypatch.setattr(
        bench_module,
        "calibrate_fleet",
        lambda fleet, loads: [calibration(*[each.concurrency for each in loads], **made)],
    )
    bench = Bench(make_job("http://localhost/v1"), Fleet(0), [parse_objective("ttft_mean=0.5s")])
    bench.calibrate_before([LoadPoint(concurrency=8)])
    latencies = {**NOTHING.latencies, "ttft": summarise([took_s])}
    bench.measured = [
        MeasuredPoint(
            LoadPoint(concurrency=8), 1, figures(ok=1, latencies=latencies), met=took_s <= 0.5
        )
    ]
    bench.calibrate_after()
    [measured] = bench.measured
    assert len(measured.calibrations) == 2
    assert measured.met is met
    assert (measured.met_reason or "").startswith(reason or "")
    assert bool(measured.met_reason) == bool(reason)


@pytest.mark.parametrize(
    ("objective", "failed", "met", "outcome"),
    [
        ("ttft_mean=0.5s", 0, True, "met"),
        ("ttft_mean=0.5s", 1, None, "missed"),
        ("ttft_mean=0.3s", 1, False, "missed"),
        ("ttft_p50=0.5s", 1, True, "met"),  # one of 101 leaves the median where it is
    ],
)
def test_a_mean_with_failures_meets_no_objective(
    objective, failed, met, outcome, make_job, tmp_path
) -> None:
    """A hundred answers of 0.4 s, and requests that never ended."""
    answers = [answered(k, 0.4) for k in range(100)]
    answers += [
        replace(answered(200, 60.0), status="timeout", first_text_s=None) for _ in range(failed)
    ]
    bench = Bench(
        make_job("http://x/v1"), FakeFleet(answers), [parse_objective(objective)], tmp_path
    )
    measured = bench.measure(LoadPoint(concurrency=8, requests=100 + failed))
    assert measured.met is met
    assert outcome_of(measured) == outcome
    assert (measured.met_reason is not None) == (met is None)


def answered(index: int, ttft_s: float) -> RequestRecord:
    return request_record(
        index=index,
        sent_s=float(index),
        first_text_s=index + ttft_s,
        end_s=index + ttft_s,
        chunk_gaps_s=(),
        chunk_tokens=None,
        prompt_tokens=1,
        output_tokens=1,
    )


class FakeFleet:
    """Load generators that return given records (fake)."""

    split = None

    def __init__(self, records: list[RequestRecord]) -> None:
        self._records = records

    def run(self, job: object, take_line: Any, on_progress: object) -> bool:
        for each in self._records:
            take_line(json.dumps({"record": each.to_json()}).encode() + b"\n")
        return True
