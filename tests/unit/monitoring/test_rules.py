"""The rules, run by Prometheus' own test tool on series that are written down here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds import ROOT
from medsweep.monitoring.rules import ERROR_RATIO, LATENCIES, QUANTILES, alerts, recorded, rule_file
from support import tool

RULES = ROOT / "helm" / "medsweep" / "rules" / "medsweep.yaml"

CONFIGURATION = (
    'sweep="s", model="m", profile="1xv100-1cpu", load_point="c8", variant="adapter", '
    'basis="emulated"'
)
LABELS = {
    "sweep": "s",
    "model": "m",
    "profile": "1xv100-1cpu",
    "load_point": "c8",
    "variant": "adapter",
    "basis": "emulated",
}

# What makes each alert fire, when it is looked at, its labels, and series that do not make it fire.
CASES: dict[str, tuple[dict[str, str], str, dict[str, str], dict[str, str]]] = {
    "MedSweepCellFailed": (
        {'medsweep_cells{sweep="s", state="failed"}': "0 0 1x8"},
        "5m",
        {"sweep": "s", "severity": "warning"},
        {'medsweep_cells{sweep="s", state="refused"}': "3x10"},
    ),
    "MedSweepErrorRate": (
        {
            f'medsweep_requests_total{{{CONFIGURATION}, status="ok"}}': "0+80x20",
            f'medsweep_requests_total{{{CONFIGURATION}, status="timeout"}}': "0+20x20",
        },
        "15m",
        {**LABELS, "severity": "critical"},
        {
            f'medsweep_requests_total{{{CONFIGURATION}, status="ok"}}': "0+95x20",
            f'medsweep_requests_total{{{CONFIGURATION}, status="timeout"}}': "0+5x20",
        },
    ),
    "MedSweepClientLimited": (
        {f"medsweep_client_limited{{{CONFIGURATION}}}": "0 1x8"},
        "5m",
        {**LABELS, "severity": "warning"},
        {f"medsweep_client_limited{{{CONFIGURATION}}}": "0x10"},
    ),
    "MedSweepGpuThrottled": (
        {f"medsweep_gpu_throttled_share{{{CONFIGURATION}}}": "0 0.25x8"},
        "5m",
        {**LABELS, "severity": "warning"},
        {f"medsweep_gpu_throttled_share{{{CONFIGURATION}}}": "0.01x10"},
    ),
    "MedSweepNoProgress": (
        {
            'medsweep_last_progress_timestamp_seconds{sweep="s"}': "0x60",
            'medsweep_cells{sweep="s", state="pending"}': "2x60",
        },
        "40m",
        {"sweep": "s", "severity": "critical"},
        # All is done: nothing is expected to go on.
        {
            'medsweep_last_progress_timestamp_seconds{sweep="s"}': "0x60",
            'medsweep_cells{sweep="s", state="pending"}': "0x60",
        },
    ),
    "MedSweepServerFailing": (
        {
            'medsweep_server_requests_total{model="m", outcome="ok"}': "0+90x20",
            'medsweep_server_requests_total{model="m", outcome="queue_full"}': "0+10x20",
        },
        "15m",
        {"model": "m", "severity": "critical"},
        # A client that goes away is no fault of the server's.
        {
            'medsweep_server_requests_total{model="m", outcome="ok"}': "0+50x20",
            'medsweep_server_requests_total{model="m", outcome="cancelled"}': "0+50x20",
        },
    ),
}


def run_promtool(folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    given = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(given))
    return subprocess.run(
        [tool("promtool"), "test", "rules", str(folder / "tests.yaml")],
        capture_output=True,
        text=True,
    )


def series(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": text} for name, text in values.items()]


def alert_test(name: str, values: dict[str, str], at: str, labels: dict[str, str] | None) -> Any:
    expected = []
    if labels is not None:
        (rule,) = (each for each in alerts() if each["alert"] == name)
        expected = [{"exp_labels": labels, "exp_annotations": filled(rule, labels)}]
    return {
        "interval": "1m",
        "input_series": series(values),
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": expected}],
    }


VALUES = {
    "MedSweepCellFailed": "1",
    "MedSweepErrorRate": "20%",
    "MedSweepGpuThrottled": "25%",
    "MedSweepNoProgress": "40m 0s",
    "MedSweepServerFailing": "10%",
}


def filled(rule: dict[str, Any], labels: dict[str, str]) -> dict[str, str]:
    """The annotations as a person reads them."""
    texts = {}
    for key, text in rule["annotations"].items():
        for value in ("$value", "$value | humanizePercentage", "$value | humanizeDuration"):
            text = text.replace(f"{{{{ {value} }}}}", VALUES.get(rule["alert"], ""))
        for label, value in labels.items():
            text = text.replace(f"{{{{ $labels.{label} }}}}", value)
        assert "{{" not in text
        texts[key] = text
    return texts


def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(len(group["rules"]) for group in rule_file()["groups"])
    assert f"{count} rules found" in done.stdout


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == {rule["alert"] for rule in alerts()}
    assert len(CASES) == 6


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    tests = []
    for name, (firing, at, labels, quiet) in CASES.items():
        tests.append(alert_test(name, firing, at, labels))
        tests.append(alert_test(name, quiet, at, None))
    done = run_promtool(tmp_path, tests)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_a_case_can_fail(name: str, tmp_path: Path) -> None:
    _, at, labels, quiet = CASES[name]
    assert run_promtool(tmp_path, [alert_test(name, quiet, at, labels)]).returncode != 0


def test_recorded_quantiles_and_ratios_are_those_of_the_series(tmp_path: Path) -> None:
    buckets = {"0.1": "0+90x10", "0.5": "0+100x10", "+Inf": "0+100x10"}
    values = {
        f'medsweep_ttft_seconds_bucket{{{CONFIGURATION}, le="{le}"}}': text
        for le, text in buckets.items()
    }
    values |= {f'medsweep_requests_total{{{CONFIGURATION}, status="ok"}}': "0+60x10"}
    samples = [
        # 95 of 100 lie halfway between the buckets 0.1 (90) and 0.5 (100).
        (recorded("ttft", "p95"), 0.3),
        (recorded("ttft", "p50"), 0.1 * 50 / 90),
        (ERROR_RATIO, 0),
    ]
    test = {
        "interval": "1m",
        "input_series": series(values),
        "promql_expr_test": [
            {
                "expr": f"abs({name} - {value}) < bool 1e-9",
                "eval_time": "9m",
                "exp_samples": [{"labels": f"{{{CONFIGURATION}}}", "value": 1}],
            }
            for name, value in samples
        ],
    }
    done = run_promtool(tmp_path, [test])
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_recorded_quantile_for_every_latency() -> None:
    (recording, _) = rule_file()["groups"]
    names = {rule["record"] for rule in recording["rules"]}
    assert names == {recorded(each, name) for each in LATENCIES for name in QUANTILES} | {
        ERROR_RATIO
    }
