import json
from pathlib import Path

import pytest

from medsweep.cli import main
from medsweep.loadgen import calibrate


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
