"""`medsweep bench` as a user runs it, against the mock server in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medsweep.results.store import read_rows
from support import MockServers, mock_servers

pytestmark = pytest.mark.slow

FIGURES = {"mean", "p50", "p90", "p95", "p99", "max", "samples"}


@pytest.fixture
def serve() -> Iterator[MockServers]:
    with mock_servers() as start:
        yield start


def bench(url: str, *options: str, **popen: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medsweep", "bench", url, "--model", "m", *options],
        capture_output=True,
        text=True,
        timeout=120,
        **popen,
    )


def points(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["points"]
    return found


FAST = ("--ttft-s", "0.02", "--gap-s", "0.002", "--tokens", "5")


def test_closed_loop_writes_every_figure(serve: MockServers, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ("--concurrency", "1,4", "--requests", "24", "--repeats", "2", "--seed", "3")
    # Gaps so long that few answers come in one read.
    paced = serve("--ttft-s", "0.02", "--gap-s", "0.01", "--tokens", "5")
    done = bench(paced, *options, "--json", str(out), "--out", str(tmp_path / "p"))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    names = [(point["load"]["name"], point["repeat"]) for point in result["points"]]
    assert names == [("c1", 1), ("c1", 2), ("c4", 1), ("c4", 2)]
    for point in result["points"]:
        assert point["requests"] == {
            "sent": 24,
            "ok": 24,
            "failed": 0,
            "failed_by_kind": {},
            "empty": 0,
        }
        for latency in ("ttft_s", "tpot_s", "itl_s", "e2e_s", "dispatch_delay_s"):
            assert set(point[latency]) == FIGURES
        assert 0.02 <= point["ttft_s"]["mean"] < point["e2e_s"]["mean"]
        assert point["ttft_s"]["p50"] is not None
        assert point["ttft_s"]["p90"] is None  # wants 64 requests
        # Only an answer that a busy machine reads at one go has no gaps.
        assert point["itl_s"]["samples"] in range(24 * 2, 24 * 4 + 1, 4)
        assert point["dispatch_delay_s"]["samples"] == 0
        concurrency = point["load"]["concurrency"]
        assert point["requests_per_s"] < 1.02 * concurrency / 0.06
        # Little's law holds on a slow machine too.
        in_flight = point["requests_per_s"] * point["e2e_s"]["mean"]
        assert 0.5 * concurrency < in_flight < 1.1 * concurrency
        assert point["output_tokens_per_s"] > 0
        assert point["goodput_rps"] is None
        assert point["client_limited"] in (True, False, None)
        before, after = (each["concurrency"] for each in point["calibrations"])
        assert point["load"]["concurrency"] == before <= after
    assert [row["load"] for row in result["over_repeats"]] == ["c1", "c4"]
    table = done.stdout.splitlines()
    assert table[0].split()[:4] == ["load", "ok/sent", "TTFT", "ms"]
    assert len([line for line in table if line.startswith("c")]) == 4
    rows = read_rows(tmp_path / "p" / "benchmark.parquet")
    assert [(row["load_point"], row["repeat"], row["model"]) for row in rows] == [
        (name, repeat, "m") for name, repeat in names
    ]
    assert [row["ttft_mean_s"] for row in rows] == [p["ttft_s"]["mean"] for p in result["points"]]
    requests = read_rows(tmp_path / "p" / "requests.parquet")
    assert sum(row["phase"] == "measure" for row in requests) == 4 * 24
    # No folder, no text, nothing else.
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "benchmark.parquet",
        "requests.parquet",
    ]


@pytest.mark.parametrize(
    ("options", "name", "sent"),
    [
        (("--rate", "40", "--arrivals", "poisson", "--requests", "20"), "r40-poisson", 20),
        (("--rate", "40", "--arrivals", "gamma:0.3", "--duration", "0.5"), "r40-gamma0.3", None),
        (("--rate", "40", "--arrivals", "burst:5", "--requests", "20"), "r40-burst5", 20),
        (("--replay", "times.txt"), "replay-", 4),
    ],
)
def test_open_loops(serve: MockServers, tmp_path: Path, options, name, sent) -> None:
    (tmp_path / "times.txt").write_text("5\n5.1\n5.1\n5.3\n")
    (tmp_path / "prompts.jsonl").write_text('{"question": "Why?"}\nHow?\n')
    more = ("--prompts", "prompts.jsonl", "--endpoint", "completions", "--slo", "ttft_p95=5s")
    done = bench(serve(*FAST), *options, *more, "--json", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [point] = points(tmp_path / "out.json")
    assert point["load"]["name"].startswith(name)
    assert point["requests"]["sent"] == point["requests"]["ok"]
    assert sent is None or point["requests"]["sent"] == sent
    assert point["dispatch_delay_s"]["samples"] == point["requests"]["ok"]
    assert point["goodput_rps"] > 0


def test_find_max_reports_the_rates_that_it_tried(serve: MockServers, tmp_path: Path) -> None:
    """Which of them meets is up to the machine; the search itself is tested in virtual time."""
    out = tmp_path / "out.json"
    url = serve("--ttft-s", "0.02", "--tokens", "1", "--slots", "2")
    done = bench(
        url, "--find-max", "--slo", "ttft_p90=0.1s", "--requests", "70", "--json", str(out)
    )
    assert done.returncode == 0, done.stderr
    highest = json.loads(out.read_text())["find_max"]
    first, *tried = points(out)
    assert first["load"]["concurrency"] == 8
    rates = {point["load"]["rate_rps"] for point in tried}
    # Rates double until one is not met, which a server of two slots soon does not.
    above = highest["lowest_undecided_rps"] or highest["lowest_missed_rps"]
    assert above in rates
    assert highest["rate_rps"] in {None, *rates}
    if highest["rate_rps"] is not None:
        assert 1 < above / highest["rate_rps"] <= 1.06
    assert all("cannot be met" in point["ended_early"] for point in tried if point["ended_early"])
    sentences = [line for line in done.stdout.splitlines() if " requests/s" in line]
    assert any("ttft_p90=0.1s" in line for line in sentences)


def test_find_max_ends_when_the_server_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    server = subprocess.Popen(
        [sys.executable, "-m", "medsweep.loadgen.mock.server", "--ttft-s", "0.05", "--tokens", "1"],
        stdout=subprocess.PIPE,
    )
    try:
        url = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}/v1"
        command = [sys.executable, "-m", "medsweep", "bench", url, "--model", "mock", "--find-max"]
        command += ["--slo", "ttft_p90=0.2s", "--json", str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as searching:
            # The table's row of what the search begins with.
            assert any(line.startswith("c8") for line in searching.stdout)
            server.kill()
            said = searching.stdout.read()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert searching.returncode == 1
    assert "the search ended, since the server no longer answers" in said
    found = json.loads(out.read_text())
    assert found["find_max"]["rate_rps"] is None
    assert len(found["points"]) == 2


@pytest.mark.parametrize(
    ("flags", "kind", "advice"),
    [
        (("--fail", "model_refused"), "model_refused", "--model"),
        (("--fail", "html"), "html", "root with its version"),
        (("--fail", "garbage"), "garbage", "OpenAI-compatible"),
        (("--fail", "http_429"), "http_429", "lower the load"),
        (("--fail", "cut"), "closed_early", "its log"),
        (("--fail", "hang"), "timeout", "--timeout"),
        (None, "connect", "is the server up"),
    ],
)
def test_bad_servers(serve: MockServers, tmp_path: Path, flags, kind: str, advice: str) -> None:
    out = tmp_path / "out.json"
    url = serve(*flags) if flags else "http://127.0.0.1:9/v1"
    timeout_s = "0.5" if kind == "timeout" else "60"
    done = bench(url, "--concurrency", "4", "--timeout", timeout_s, "--json", str(out))
    assert done.returncode == 1
    [point] = points(out)
    assert set(point["requests"]["failed_by_kind"]) == {kind}
    assert point["requests"]["failed"] >= 4
    assert (point["status"], point["requests"]["ok"]) == ("failed", 0)
    assert point["ttft_s"]["samples"] == 0
    assert f"{kind}: " in done.stderr
    assert advice in done.stderr
    assert "Traceback" not in done.stderr


def test_some_failures_are_beside_the_figures(serve: MockServers, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    url = serve(*FAST, "--fail", "http_500", "--fail-share", "0.2")
    options = ("--concurrency", "2", "--requests", "40", "--max-error-rate", "0.5")
    done = bench(url, *options, "--json", str(out))
    assert done.returncode == 0, done.stderr
    [point] = points(out)
    assert point["requests"]["failed_by_kind"] == {"http_500": 8}
    assert (point["requests"]["ok"], point["ttft_s"]["samples"]) == (32, 32)
    assert "failed: http_500 8" in done.stdout


def test_interrupted_keeps_what_was_measured(serve: MockServers, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medsweep", "bench", serve(*FAST), "--model", "m"]
    command += ["--concurrency", "1,2", "--duration", "1", "--repeats", "500"]
    process = subprocess.Popen(
        [*command, "--json", "out.json", "--out", "."],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("load")
    assert process.stdout.readline().startswith("c")  # the first point has ended
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 3
    assert "Traceback" not in errors
    assert len(points(tmp_path / "out.json")) >= 1
    assert len(read_rows(tmp_path / "benchmark.parquet")) >= 1
    assert len(read_rows(tmp_path / "requests.parquet")) >= 1


PROGRAM = """
import sys
from medsweep.cli import main
code = main(sys.argv[1:])
print(*sys.modules)
sys.exit(code)
"""


def test_nothing_heavy_is_loaded(serve: MockServers) -> None:
    options = ["--model", "m", "--concurrency", "2", "--requests", "2"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "bench", serve(*FAST), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "medsweep.loadgen.bench" in loaded
    heavy = {"torch", "ray", "transformers", "pandas", "pyarrow", "scipy", "matplotlib", "aiohttp"}
    assert heavy.isdisjoint(loaded)


def test_json_on_standard_output_stands_alone(serve: MockServers) -> None:
    options = ("--concurrency", "3", "--requests", "3", "--processes", "2")
    done = bench(serve(*FAST), *options, "--json", "-")
    assert done.returncode == 0, done.stderr
    [point] = json.loads(done.stdout)["points"]
    assert point["requests"]["ok"] == 3
    # Without a dataset nothing is graded.
    assert "quality" not in point
    assert "token F1" not in done.stderr
    assert done.stderr.startswith("load")


def test_a_dataset_is_graded_on_the_answers_that_were_timed(
    serve: MockServers, tmp_path: Path
) -> None:
    folder, out = tmp_path / "d", tmp_path / "out.json"
    options = ("--concurrency", "4", "--requests", "24", "--out", str(folder))
    done = bench(serve(*FAST), "--dataset", "embedded", "--json", str(out), *options)
    assert done.returncode == 0, done.stderr
    [point] = points(out)
    [row] = read_rows(folder / "benchmark.parquet")
    quality = point["quality"]
    assert quality["questions"] == row["questions"] == 24
    assert quality["token_f1"] == row["token_f1"]
    # Five words of the mock against a reference: nearly nothing is right.
    assert 0 <= row["token_f1"] < 0.2
    assert row["truncated_share"] is not None
    assert "answers at 4 clients, repeat 1: 24 questions: token F1 0.0" in done.stdout
    assert not list(folder.glob("*responses*")), "texts are not kept"


def test_the_model_is_found_and_rates_are_swept(serve: MockServers) -> None:
    url = serve("--ttft-s", "0.02", "--gap-s", "0.001", "--tokens", "3", "--slots", "1")
    command = [sys.executable, "-m", "medsweep", "bench", url, "--sweep", "--requests", "12"]
    command += ["--warmup", "2"]
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["model"] == "mock"
    loads = [each["load"] for each in result["points"]]
    loops = [each["concurrency"] for each in loads if each["concurrency"]]
    rates = [each["rate_rps"] for each in loads if each["rate_rps"]]
    assert loops[:2] == [1, 4]
    assert len(rates) == 5
    highest = result["sweep"]["highest_requests_per_s"]
    assert rates == [float(f"{share * highest:.3g}") for share in (0.2, 0.4, 0.6, 0.8, 0.95)]


def test_the_page_of_a_sweep_is_written_for_one_server(serve: MockServers, tmp_path: Path) -> None:
    options = ("--concurrency", "1,4", "--requests", "24", "--report")
    # Gaps so long that no answer comes in one read, which would have no TPOT.
    paced = serve("--ttft-s", "0.02", "--gap-s", "0.01", "--tokens", "5")
    done = bench(paced, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "results" / "bench" / "report.html"
    assert f"report: {page.relative_to(tmp_path)}" in done.stdout
    html = page.read_text(encoding="utf-8")
    assert "How fast is each configuration?" in html
    assert 'aria-labelledby="throughput-against-user-speed"' in html
    rows = list(read_rows(page.parent / "benchmark.parquet"))
    table = (page.parent / "tables" / "throughput.csv").read_text().splitlines()
    assert [row["load_point"] for row in rows] == ["c1", "c4"]
    assert [line.split(",")[2] for line in table[1:]] == ["1 client", "4 clients"]
