import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.cli import main
from medsweep.report.tables.decision import decision_table
from medsweep.results.schema import BENCHMARK, REQUESTS
from medsweep.results.store import read_rows, write_rows


def results(folder: Path, **columns: Any) -> Path:
    """Write three repeats of one observed and one emulated cell."""
    rows = [
        {
            "sweep": "small",
            "model": "distilgpt2",
            "variant": "adapter",
            "profile": profile,
            "load_point": "c1",
            "status": "ok",
            "basis": basis,
            "repeat": repeat,
            "ttft_mean_s": 0.1 + repeat / 1000,
            "e2e_mean_s": 1.0,
            "token_f1": 0.3,
            "requests_per_s": 2.0,
            "rate_rps": 2.0,
            "arrivals": "poisson",
            **columns,
        }
        for profile, basis in (("host", "observed"), ("1xv100-1cpu", "emulated"))
        for repeat in (1, 2, 3)
    ]
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    return folder


def test_bases_are_ranked_apart_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(results(tmp_path)), "--max-mean-ttft", "500ms"]) == 0
    observed, emulated = capsys.readouterr().out.split("emulated: ")
    assert "take: distilgpt2@host at 1 client" in observed
    assert "first: distilgpt2@1xv100-1cpu" in emulated
    assert "take" not in emulated


def test_programs_get_the_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(results(tmp_path))
    assert main(["recommend", folder, "--max-mean-ttft", "0.05", "--rate", "5", "--json"]) == 0
    [verdict] = json.loads(capsys.readouterr().out)["observed"]
    assert verdict["missed"] is True
    assert verdict["replicas"] == 3
    [check] = verdict["checks"]
    assert check["column"] == "ttft_mean_s"
    assert check["value"] == pytest.approx(0.102)


def test_a_closed_loop_is_planned_from_its_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two slots of 1 s: one replica is full at 2 requests/s, and at 1.9 its queue is long."""
    folder = results(tmp_path, key="k", concurrency=2, rate_rps=None, arrivals=None)
    sent = [
        {
            "load_point": "c1", "variant": "adapter", "repeat": repeat, "index": index,
            "phase": "measure", "status": "ok", "sent_s": 1.0, "first_text_s": 1.1, "end_s": 2.0,
        }
        for repeat in (1, 2, 3)
        for index in range(50)
    ]  # fmt: skip
    write_rows(folder / "cells/k/requests.parquet", REQUESTS, sent)
    arguments = ["recommend", str(folder), "--max-p95-ttft", "1s", "--rate", "1.9"]
    assert main([*arguments, "--json"]) == 0
    verdict, other = (each[0] for each in json.loads(capsys.readouterr().out).values())
    assert (verdict["replicas"], verdict["met"]) == (2, True)
    assert verdict["utilisation"] == pytest.approx(1.9 / 4)
    assert other["usd_per_hour"] is None
    assert main(arguments) == 0
    assert " 2         48 %  " in capsys.readouterr().out


def test_a_folder_without_results_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(tmp_path)]) == 2
    assert "no benchmark.parquet" in capsys.readouterr().err


def two_priced(folder: Path) -> str:
    """Write a dear good cell and a cheap one that misses a limit."""
    rows = [
        {
            "sweep": "small",
            "model": "m",
            "variant": "adapter",
            "profile": profile,
            "load_point": "c1",
            "status": "ok",
            "basis": "observed",
            "repeat": repeat,
            "ttft_mean_s": ttft_s + repeat / 1000,
            "e2e_mean_s": 1.0,
            "token_f1": quality,
            "token_f1_low": quality - 0.01,
            "token_f1_high": quality + 0.01,
            "usd_per_hour": price,
            "requests_per_s": 2.0,
            "rate_rps": 2.0,
            "arrivals": "poisson",
        }
        for profile, ttft_s, quality, price in (
            ("dear", 0.1, 0.3, 4.0), ("cheap", 0.3, 0.2, 1.0), ("best", 0.1, 0.4, 9.0),
        )
        for repeat in (1, 2, 3)
    ]  # fmt: skip
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    return str(folder)


def test_the_next_choices_say_what_they_give_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", two_priced(tmp_path), "--max-mean-ttft", "0.2s", "--rate", "3"]) == 0
    said = capsys.readouterr().out
    assert "take: m@dear at 1 client" in said
    cheaper = next(line for line in said.splitlines() if line.startswith("cheaper: m@cheap: "))
    assert "token F1 0.200, not 0.300, the same end-to-end time, USD/h -6.00" in cheaper
    assert "ttft_mean_s <= 200 ms with a probability of only 0 % (302 ms)" in cheaper
    better = next(line for line in said.splitlines() if line.startswith("better: m@best: "))
    assert "token F1 0.400, not 0.300" in better
    assert better.endswith("USD/h +10.00, also meets the limits")
    assert (
        "best trade-offs of token F1, latency and price at 1 client: m@best, m@dear, m@cheap"
        in said
    )


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--rate", "-3", "'-3' is not a number above 0"),
        ("--max-p95-ttft", "soon", "'soon' is not a time above 0 such as 0.5s or 500ms"),
        ("--max-p95-ttft", "0ms", "'0ms' is not a time above 0"),
        ("--min-token-f1", "25", "'25' is not a number from 0 to 1"),
        ("--max-usd-per-1k", "nan", "'nan' is not a number above 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    option: str, value: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["recommend", str(tmp_path), f"{option}={value}"])
    assert left.value.code == 2
    assert complaint in capsys.readouterr().err


def test_report_and_recommend_name_the_same_trade_offs_and_their_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At c8, which suits the limit too, `slow` would be beaten by nothing."""
    rows = [
        {
            "sweep": "small", "model": "m", "variant": "adapter", "profile": profile,
            "load_point": f"c{concurrency}", "concurrency": concurrency, "status": "ok",
            "basis": "observed", "repeat": repeat, "ttft_mean_s": 0.1 + repeat / 1000,
            "e2e_mean_s": e2e_s, "token_f1": token_f1, "requests_per_s": float(concurrency),
        }
        for profile, concurrency, e2e_s, token_f1 in (
            ("quick", 1, 1.0, 0.3), ("slow", 1, 2.0, 0.3), ("good", 1, 3.0, 0.4),
            ("quick", 8, 4.0, 0.3), ("slow", 8, 2.5, 0.3), ("good", 8, 9.0, 0.4),
        )
        for repeat in (1, 2, 3)
    ]  # fmt: skip
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    assert main(["recommend", str(tmp_path), "--max-mean-ttft", "500ms"]) == 0
    said = capsys.readouterr().out
    assert "take: m@quick at 8 clients" in said or "take: m@good at 8 clients" in said
    line = next(line for line in said.splitlines() if line.startswith("best trade-offs"))
    assert line == "best trade-offs of token F1 and latency at 1 client: m@good, m@quick"
    in_report = decision_table(read_rows(tmp_path / "benchmark.parquet"))
    assert {row.profile for row in in_report if row.on_front} == {"quick", "good"}
