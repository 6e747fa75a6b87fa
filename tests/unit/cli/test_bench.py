import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from made_rows import calibration, summarise
from medsweep.cli import bench as bench_verb
from medsweep.cli import main
from medsweep.loadgen import calibrate
from medsweep.loadgen.bench import MeasuredPoint
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--concurrency", "0"), "--concurrency 0"),
        (("--concurrency", "1,x"), "--concurrency x"),
        (("--concurrency", "1.5"), "whole numbers"),
        (("--concurrency", "2,2"), "each load once"),
        (("--rate", "1", "--arrivals", "possion"), "did you mean 'poisson'"),
        (("--rate", "1", "--arrivals", "gamma:x"), "--arrivals x"),
        (("--concurrency", "2", "--arrivals", "poisson"), "--arrivals spaces an open loop"),
        (("--find-max",), "--slo"),
        (("--find-max", "--slo", "ttft_p95=1s", "--repeats", "2"), "leave --repeats out"),
        (("--repeats", "0"), "--repeats"),
        (("--requests", "0"), "`requests` must be at least 1"),
        (("--slo", "ttft=1s"), "ttft_p95=0.5s"),
        (("--prompts", "absent.txt"), "absent.txt: cannot be read"),
        (("--dataset", "nonsense"), "nonsense"),
        (("--header", "X-A"), "NAME: VALUE"),
        (("--max-error-rate", "2"), "share"),
        (("--processes", "none"), "--processes none"),
        (("--api-key-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
    ],
)
def test_wrong_options_start_nothing(
    options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "http://127.0.0.1:9/v1", "--model", "m", *options]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.out == ""


def test_an_empty_name_of_a_model_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "http://127.0.0.1:9/v1", "--model", " "]) == 2
    assert "model's name is empty" in capsys.readouterr().err


def test_a_key_that_is_none_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDSWEEP_TEST_KEY", "\u201csk-secret\u201d")
    options = [
        "bench",
        "http://127.0.0.1:9/v1",
        "--model",
        "m",
        "--api-key-env",
        "MEDSWEEP_TEST_KEY",
    ]
    assert main(options) == 2
    told = capsys.readouterr().err
    assert "MEDSWEEP_TEST_KEY: the API key has a character that no key has" in told
    assert "secret" not in told


def test_url_must_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "127.0.0.1:9/v1", "--model", "m"]) == 2
    assert "http:// or https://" in capsys.readouterr().err


def test_what_cannot_be_written_is_found_out_before_the_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for option in ("--json", "--out"):
        path = str(tmp_path / "file" / "below")
        assert main(["bench", "http://127.0.0.1:9/v1", "--model", "m", option, path]) == 4
        said = capsys.readouterr()
        assert "cannot be written" in said.err
        assert said.out == ""


@pytest.mark.slow
def test_calibrate_tells_bias_and_highest_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrate, "HIGHEST_CONCURRENCY", 16)
    monkeypatch.setattr("medsweep.cli.calibrate._REQUESTS_PER_WORKER", 3)
    assert main(["calibrate", "--concurrency", "1,8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [point["concurrency"] for point in result["points"]] == [1, 8]
    for point in result["points"]:
        ttft, itl = point["errors"]["ttft"], point["errors"]["itl"]
        assert 0 < ttft["mean"] <= ttft["max"]
        assert abs(itl["mean"]) <= itl["max"]
    honest = [p["requests_per_s"] for p in result["points"] if not p["client_limited"]]
    assert result["highest_honest_requests_per_s"] >= max(honest, default=0.0)
    assert result["limit_found"] in (True, False)
    assert main(["calibrate", "--concurrency", "one"]) == 2
    assert "whole numbers" in capsys.readouterr().err


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
    bench_verb.print_client_error(Namespace(json=None), bench)  # type: ignore[arg-type]
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
    with pytest.raises(BrokenPipeError), bench_verb._files(options, test):  # type: ignore[arg-type]
        test.on_records(point, 1, [])
    assert {each.name for each in tmp_path.iterdir()} == {"benchmark.parquet", "requests.parquet"}
