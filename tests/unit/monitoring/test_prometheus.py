from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest

from made_rows import request_record
from medsweep.errors import EnvironmentFault
from medsweep.metrics.request_record import RequestRecord
from medsweep.monitoring.prometheus import LABELS, LiveMetrics, textfile

VALUES = {
    "sweep": "s",
    "model": "m",
    "profile": "p",
    "load_point": "c1",
    "variant": "adapter",
    "basis": "emulated",
}


def record(**changes: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "first_text_s": 0.3,
        "end_s": 0.7,
        "chunk_gaps_s": (0.4,),
        "chunk_tokens": (1, 1),
        "prompt_tokens": 3,
        "output_tokens": 2,
        "text": "secret",
    }
    return request_record(**{**values, **changes})


def scrape(metrics: LiveMetrics) -> dict[str, float]:
    text = urllib.request.urlopen(metrics.url, timeout=60).read().decode()
    assert "secret" not in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def labels(**more: str) -> str:
    return ",".join(f'{name}="{value}"' for name, value in sorted({**VALUES, **more}.items()))


def test_labels_are_those_of_the_schema() -> None:
    assert tuple(VALUES) == LABELS


def test_measured_requests_are_counted_in_histograms() -> None:
    with LiveMetrics() as metrics:
        metrics.request(VALUES, record())
        metrics.request(VALUES, record(phase="warmup"))
        metrics.request(VALUES, record(status="timeout"))
        found = scrape(metrics)
    assert found[f"medsweep_ttft_seconds_count{{{labels()}}}"] == 1
    assert found[f"medsweep_ttft_seconds_sum{{{labels()}}}"] == pytest.approx(0.3)
    assert found[f"medsweep_e2e_seconds_sum{{{labels()}}}"] == pytest.approx(0.7)
    assert found[f"medsweep_inter_token_seconds_sum{{{labels()}}}"] == pytest.approx(0.4)
    assert found[f"medsweep_requests_total{{{labels(status='ok')}}}"] == 1
    assert found[f"medsweep_requests_total{{{labels(status='timeout')}}}"] == 1


def test_gauges_show_the_last_repeat_and_missing_is_not_zero() -> None:
    with LiveMetrics() as metrics:
        metrics.figures(VALUES, {"ttft_mean_s": 0.25, "token_f1": None})
        metrics.cells("s", {"ok": 2})
        found = scrape(metrics)
    assert found[f"medsweep_ttft_mean_seconds{{{labels()}}}"] == 0.25
    assert f"medsweep_token_f1{{{labels()}}}" not in found
    assert found['medsweep_cells{state="ok",sweep="s"}'] == 2


def test_a_port_in_use_is_said_plainly() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"--metrics-port {port}") as caught:
            LiveMetrics(port)
    assert caught.value.exit_code == 4


def test_textfile_leaves_out_what_is_null_and_shows_failed_cells() -> None:
    row = {**VALUES, "repeat": 1, "status": "ok", "ttft_mean_s": 0.5, "ttft_p90_s": None}
    failed = {**row, "profile": "q", "status": "failed", "ttft_mean_s": None}
    text = textfile([row, failed])
    assert "medsweep_ttft_mean_seconds{" in text
    assert "medsweep_ttft_p90_seconds{" not in text
    assert 'profile="q",status="failed"' in text
    assert text.count("} 0.5") == 1
