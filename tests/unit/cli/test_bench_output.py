"""What `medsweep bench` prints beside its table, and its files where the output is closed."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from made_rows import calibration, summarise
from medsweep.cli import bench_output
from medsweep.loadgen.bench import MeasuredPoint
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt


def test_what_the_client_caused_is_printed_after_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured(concurrency: int, **made: Any) -> MeasuredPoint:
        point = LoadPoint(concurrency=concurrency)
        figures = figures_of([], point)
        latencies = {**figures.latencies, "ttft": summarise([0.06])}
        figures = replace(figures, ok=1, latencies=latencies)
        return MeasuredPoint(point, 1, figures, calibrations=(calibration(**made),))

    bench = SimpleNamespace(
        measured=[
            measured(1),
            measured(8, error_s=0.08),
            measured(64, reached=0.9),
            measured(256, server=0.9),
        ]
    )
    bench_output.print_client_error(Namespace(json=None), bench)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "note on 8 clients, repeat 1: more than a tenth is client error: ttft_mean_s, ttft_max_s",
        "note on 64 clients, repeat 1: limited by the client, not the server",
        "note on 256 clients, repeat 1: whether the client keeps up with this load is not known",
    ]


def test_files_are_written_where_the_json_cannot_be_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"dataset": None, "input_tokens": None, "output_tokens": None}
    options = Namespace(out=tmp_path, json="-", url="http://h/v1", model="m", repeats=1, **asked)
    point = LoadPoint(concurrency=1, requests=1)
    job = LoadJob("http://h/v1", "m", (Prompt("q", "What is gout?"),), point, 0, 8)
    test = SimpleNamespace(job=job, measured=[MeasuredPoint(point, 1, figures_of([], point))])

    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    with pytest.raises(BrokenPipeError), bench_output.output_files(options, test):  # type: ignore[arg-type]
        test.on_records(point, 1, [])
    assert {each.name for each in tmp_path.iterdir()} == {"benchmark.parquet", "requests.parquet"}
