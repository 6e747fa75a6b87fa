"""A load test and a sweep say the same of the same records."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from made_rows import calibration, request_record, summarise
from medsweep.loadgen.bench import MeasuredPoint
from medsweep.loadgen.bench_results import write_benchmark
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.load_columns import add_calibration, load_columns, load_notes
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadPoint
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import read_rows
from medsweep.sweep.assemble import Grades, measurement_row
from medsweep.sweep.measurements import Measurement

OBJECTIVES = [Objective("ttft", "max", 0.3), Objective("e2e", "p90", 1.5)]
CALIBRATION = calibration(error_s=0.001, reached=0.9)


def records_of(point: LoadPoint, seed: int = 0) -> list[RequestRecord]:
    """Eight of ten are measured; every seventh fails, every ninth has chunks without counts."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(200):
        at_s = k / (point.rate or 8)
        first_s = at_s + float(rng.gamma(2.0, 0.1))
        gaps_s = tuple(rng.gamma(2.0, 0.05, 5).tolist())
        phase = "warmup" if k < 20 else "cooldown" if k >= 180 else "measure"
        failed = k % 7 == 3
        made.append(
            request_record(
                index=k,
                phase=phase,
                due_s=None if point.rate is None else at_s,
                sent_s=at_s + 1e-4,
                first_text_s=None if failed else first_s,
                end_s=first_s + sum(gaps_s),
                chunk_gaps_s=() if failed else gaps_s,
                chunk_tokens=None if failed or k % 9 == 0 else (1,) * 6,
                prompt_tokens=9,
                output_tokens=None if failed else 6,
                status="timeout" if failed else "ok",
                error="no answer" if failed else None,
                text="Rest.",
            )
        )
    return made


@pytest.mark.parametrize(
    "point",
    [
        LoadPoint(concurrency=8),
        LoadPoint(rate=8.0),
        LoadPoint(rate=400.0),  # shorter than an answer: no rates
        LoadPoint(rate=8.0, arrivals="gamma", shape=0.5),
    ],
)
def test_bench_and_sweep_give_the_same_figures(point, make_job, tmp_path) -> None:
    records = records_of(point)
    figures = figures_of(records, point, OBJECTIVES)
    measured = MeasuredPoint(point, 2, figures, calibrations=(CALIBRATION,))
    write_benchmark(tmp_path, make_job("http://localhost/v1"), [measured])
    [bench] = read_rows(tmp_path / "benchmark.parquet")
    # A sweep holds its records in another order.
    shuffled = [records[place] for place in np.random.default_rng(1).permutation(len(records))]
    sweep = measurement_row(
        Measurement(point, 2, "adapter"),
        figures=figures_of(shuffled, point, OBJECTIVES),
        recording=None,
        grades=Grades({}, []),
    )
    add_calibration(sweep, CALIBRATION)
    names = set(load_columns(point, 2, "adapter", figures, [CALIBRATION])) - {
        "variant",
        "measured_at",
    }
    assert len(names) > 50
    assert names <= {column.name for column in BENCHMARK}
    for name in sorted(names):
        bench_value, sweep_value = bench[name], sweep[name]
        if isinstance(sweep_value, float):
            assert bench_value == pytest.approx(sweep_value, rel=1e-12), name
        else:
            assert (dict(bench_value) if name == "failed_by_kind" else bench_value) == sweep_value
    assert (sweep["goodput_rps"] is None) == (point.rate == 400.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("point", [LoadPoint(concurrency=8), LoadPoint(rate=8.0)])
def test_goodput_is_never_above_the_rate(point: LoadPoint, seed: int) -> None:
    records = records_of(point, seed)
    for ttft_s, e2e_s in itertools.product((0.05, 0.2, 9.0), repeat=2):
        limits = [Objective("ttft", "max", ttft_s), Objective("e2e", "max", e2e_s)]
        found = figures_of(records, point, limits)
        assert 0 <= found.goodput_rps <= found.requests_per_s
    assert found.goodput_rps == found.requests_per_s


def test_notes_say_what_a_figure_is_of() -> None:
    point = LoadPoint(rate=400.0)
    found = figures_of(records_of(point), point)
    row = load_columns(point, 1, "base", found)
    assert (row["requests_per_s"], row["itl_unit"], row["client_limited"]) == (None, "chunk", None)
    assert "gap between chunks" in row["load_notes"]
    assert "requests were sent for 0.4 s" in row["load_notes"]
    quiet = figures_of([], point)
    assert load_notes(point, quiet) == []
    grows = load_notes(LoadPoint(rate=2.0), replace(quiet, growth=0.25))
    assert any("the queue grows" in note for note in grows)


def row_of(ttft_s: float, delay_s: float | None = None, **point: object) -> dict[str, object]:
    """The row of a load whose every TTFT and delay are the same."""
    latencies = figures_of([], LoadPoint(concurrency=8)).latencies
    latencies = {**latencies, "ttft": summarise([ttft_s] * 200)}
    latencies["dispatch_delay"] = summarise([delay_s] * 200)
    load = LoadPoint(**(point or {"concurrency": 8}))
    figures = replace(figures_of([], load), sent=200, ok=200, latencies=latencies)
    return load_columns(load, 1, "base", figures)


TTFTS = ", ".join(f"ttft_{each}_s" for each in ("mean", "p50", "p90", "p95", "max"))


def test_a_figure_with_more_than_a_tenth_of_client_error_is_marked() -> None:
    """Issue: a bias of 80 ms beside a TTFT of 60 ms was not marked."""
    row = row_of(0.060)
    add_calibration(row, calibration(error_s=0.0059, server_late_s=0.08))
    assert (row["client_error_figures"], row["client_ttft_bias_s"]) == (None, 0.0059)
    # The server's lateness is no error of the client's.
    assert (row["calibration_server_late_s"], row["client_limited"]) == (0.08, False)
    # Afterwards the machine was busier; what was seen before stays.
    add_calibration(row, calibration(error_s=0.0061))
    assert (row["client_error_figures"], row["client_ttft_bias_s"]) == (TTFTS, 0.0061)
    assert (row["calibrations"], row["calibration_server_late_s"]) == (2, 0.08)
    add_calibration(row, calibration(error_s=0.0))
    assert row["client_error_figures"] == TTFTS


def test_late_sending_is_client_error_of_an_open_loop() -> None:
    assert row_of(0.060, 0.0061, rate=8.0)["client_error_figures"] == TTFTS
    row = row_of(0.060, 0.004, rate=8.0)
    assert (row["client_error_figures"], row["client_limited"]) == (None, None)
    add_calibration(row, calibration(error_s=0.0021))
    assert row["client_error_figures"] == TTFTS


@pytest.mark.parametrize(
    ("before", "after", "limited"),
    [
        ({}, {}, False),
        ({}, {"reached": 0.9}, True),
        ({"reached": 0.9}, {}, True),
        ({}, {"server": 0.9}, None),
        ({"server": 0.9}, {}, None),
        ({"server": 0.9}, {"reached": 0.9}, True),
    ],
)
def test_either_calibration_shows_a_limit_and_both_must_show_none(before, after, limited) -> None:
    row = row_of(0.060)
    assert row["client_limited"] is None
    add_calibration(row, calibration(**before))
    add_calibration(row, calibration(**after))
    assert row["client_limited"] is limited
    assert row["load_notes"] == ("limited by the client, not the server" if limited else None)


def test_a_client_that_sends_late_limits_a_sweep_too() -> None:
    point = LoadPoint(rate=8.0)
    records = [replace(each, sent_s=each.sent_s + 0.02) for each in records_of(point)]
    row = measurement_row(
        Measurement(point, 1, "adapter"),
        figures=figures_of(records, point),
        recording=None,
        grades=Grades({}, []),
    )
    assert row["client_limited"] is True
    assert "limited by the client" in row["load_notes"]
    add_calibration(row, calibration())
    assert row["client_limited"] is True


def test_answers_that_came_in_one_read_are_noted() -> None:
    point = LoadPoint(concurrency=8)
    records = [
        replace(each, chunk_gaps_s=(0.0,) * 5) for each in records_of(point) if not each.error
    ]
    figures = figures_of(records, point)
    assert figures.at_once == figures.ok > 100
    assert (
        figures.latencies["tpot"].mean is figures.latencies["itl"].mean is figures.itl_unit is None
    )
    assert f"all tokens of {figures.ok} answers came in one read" in load_notes(point, figures)[0]
    assert figures_of(records_of(point), point).at_once == 0


def test_answers_in_few_large_chunks_are_noted() -> None:
    point = LoadPoint(concurrency=8)
    large = [
        replace(each, chunk_gaps_s=(0.3,), chunk_tokens=(3, 3)) if not each.error else each
        for each in records_of(point)
    ]
    figures = figures_of(large, point)
    assert (figures.coarse, figures.at_once) == (figures.ok, 0)
    assert figures.latencies["tpot"].mean is None
    note = f"over a fifth of the tokens of {figures.ok} answers came with the first one"
    assert load_notes(point, figures)[0].startswith(note)
