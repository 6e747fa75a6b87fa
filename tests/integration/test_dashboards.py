"""Every query of every dashboard, run by a real Prometheus that scraped what the product exposes.

The run's own endpoint and the server's are the product's code, fed as a run and a server feed them.
The series of a node are written down here in the names of Ray 2.60, since no test may need a GPU.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from crds import ROOT
from made_rows import request_record
from medsweep.cluster.protocol import free_port
from medsweep.finetune.train_metrics import LABELS, TrainingMetrics
from medsweep.metrics.request_record import RequestRecord
from medsweep.monitoring.dashboards import NAMES, dashboards
from medsweep.monitoring.dashboards.hardware import measured
from medsweep.monitoring.prometheus import LIVE, LiveMetrics, textfile
from medsweep.serving.server_metrics import PrometheusSink, RequestTimes, ServerMetrics
from support import tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RULES = ROOT / "helm" / "medsweep" / "rules" / "medsweep.yaml"
VALUES = {
    "sweep": "paper-cells",
    "model": "llama-3-8b",
    "profile": "1xa100-2cpu",
    "load_point": "c8",
    "variant": "adapter",
    "basis": "emulated",
}
GRAFANA = {"$__range_s": "3600", "$__range": "1h", "$__rate_interval": "1m"}
PATIENCE_S = 60


def record(index: int) -> RequestRecord:
    """One answer, as the load generator notes it; every tenth fails."""
    return request_record(
        index=index,
        first_text_s=0.05,
        end_s=0.45,
        chunk_gaps_s=(0.2, 0.2),
        prompt_tokens=9,
        status="timeout" if index % 10 == 0 else "ok",
    )


def serve_one(metrics: ServerMetrics, outcome: str) -> None:
    """One request, as the server notes it."""
    times = RequestTimes("llama-3-8b", 0.0, 0.01, 0.05, 0.4, [(0.1, 2)], 0.0, 0.03, 4, 20, 3)
    metrics.ended(outcome, times, 0.4)


def written_down() -> str:
    """Series of a node and its GPU in Ray's names."""
    node = 'ip="192.0.2.1", RayNodeType="worker", SessionName="s", Version="2.60.0"'
    return f"""\
ray_node_cpu_utilization{{{node}}} 55
ray_node_mem_used{{{node}}} 3e9
ray_node_gpus_utilization{{{node}, GpuIndex="0"}} 97
ray_node_gram_used{{{node}, GpuIndex="0"}} 20000
"""


class Shown:
    """A gauge of Prometheus' own client, in the place of Ray's."""

    def __init__(self, registry: CollectorRegistry, name: str, meaning: str) -> None:
        self._gauge = Gauge(name, meaning, LABELS, registry=registry)

    def set(self, value: float, tags: dict[str, str]) -> None:
        self._gauge.labels(**tags).set(value)


def fine_tune() -> bytes:
    """What a worker of a fine-tune shows after an epoch."""
    registry = CollectorRegistry()
    labels = {name: VALUES.get(name, "0") for name in LABELS}
    metrics = TrainingMetrics(labels, lambda name, meaning: Shown(registry, name, meaning))
    row = {"epoch": 1, "loss": 1.5, "tokens": 3000, "seconds": 2.0, "eval_loss": 1.2}
    metrics.epoch({**row, "token_f1": 0.25}, 2**30)
    return generate_latest(registry)


@dataclass
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        question = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{question}", timeout=60) as reply:
                found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{expression}: {error.read().decode()}")
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of a query as soon as it holds a number, or nothing in the end."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = [
                each for each in self.query(expression) if math.isfinite(float(each["value"][1]))
            ]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


@pytest.fixture(scope="module")
def exposed() -> Iterator[list[str]]:
    """Addresses of everything that is scraped, while it counts on."""
    sink = PrometheusSink()
    server_metrics = ServerMetrics([sink])
    count = 0
    final = {
        **VALUES,
        "repeat": 1,
        "status": "ok",
        **{column.name: 7.0 for column in measured()},
    }

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {
                "/server": sink.text,
                "/finetune": fine_tune,
                "/textfile": lambda: textfile([final]).encode(),
                "/node": lambda: written_down().encode(),
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(pages[self.path]())

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    stop = threading.Event()
    with LiveMetrics() as live:
        live.planned("paper-cells", [("llama-3-8b", "1xa100-2cpu")])
        live.stage("paper-cells", "fine-tune")
        live.figures(VALUES, dict.fromkeys(LIVE, 0.5))
        for name in ("running", "queued", "adapters_loaded"):
            server_metrics.record(name, 2)

        def go_on() -> None:
            nonlocal count
            while not stop.wait(0.05):
                count += 1
                live.request(VALUES, record(count))
                live.cells("paper-cells", {"pending": 9, "ok": count // 20, "failed": 1})
                serve_one(server_metrics, "ok" if count % 10 else "failed")

        feeder = threading.Thread(target=go_on)
        feeder.start()
        base = f"http://127.0.0.1:{httpd.server_port}"
        yield [live.url, *(f"{base}/{page}" for page in ("server", "finetune", "textfile", "node"))]
        stop.set()
        feeder.join()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(
    exposed: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus with the chart's rules, scraping it all every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    jobs = [
        {
            "job_name": f"job-{number}",
            "metrics_path": urllib.parse.urlparse(url).path,
            "static_configs": [{"targets": [urllib.parse.urlparse(url).netloc]}],
        }
        for number, url in enumerate(exposed)
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    process, server = _start(folder)
    try:
        yield server
    finally:
        process.terminate()
        process.wait()


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], Prometheus]:
    """Start Prometheus on a free port; on another one if that has been taken meanwhile."""
    for _ in range(3):
        port = free_port()
        process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
        )
        url = f"http://127.0.0.1:{port}"
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=60).close()
            except OSError:
                time.sleep(0.1)
            else:
                return process, Prometheus(url)
    pytest.fail(f"prometheus ended with {process.returncode}")


def interpolated(expression: str, dashboard: dict[str, Any]) -> str:
    """A query as Grafana sends it with everything chosen."""
    for variable in dashboard["templating"]["list"]:
        expression = expression.replace(f'"${variable["name"]}"', '".*"')
    for name, value in GRAFANA.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@pytest.fixture(scope="module")
def made() -> dict[str, dict[str, Any]]:
    return dashboards()


@pytest.mark.parametrize("name", NAMES)
def test_every_query_returns_data(
    name: str, made: dict[str, dict[str, Any]], prometheus: Prometheus
) -> None:
    dashboard = made[name]
    asked = 0
    for panel in panels(dashboard):
        for target in panel["targets"]:
            expression = interpolated(target["expr"], dashboard)
            found = prometheus.wait_for(expression)
            assert found, f"{panel['title']}: {expression} returned nothing"
            # What the legend names is there to be named.
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                if label != "GpuIndex":
                    assert all(each["metric"].get(label) for each in found), panel["title"]
            asked += 1
    for annotation in dashboard["annotations"].get("list", ()):
        assert prometheus.wait_for(interpolated(annotation["expr"], dashboard))
    assert asked >= 5


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels, those in folded rows too."""
    rows = [each.get("panels") or [each] for each in dashboard["panels"]]
    return [panel for row in rows for panel in row]


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_has_values(
    name: str, made: dict[str, dict[str, Any]], prometheus: Prometheus
) -> None:
    dashboard = made[name]
    queries = [each for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert queries
    for variable in queries:
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
        found = prometheus.wait_for(interpolated(series, dashboard))
        assert {each["metric"].get(label) for each in found} - {None}, variable["query"]


def test_recorded_figures_are_those_of_the_requests(prometheus: Prometheus) -> None:
    (found,) = prometheus.wait_for("medsweep:ttft_seconds:p95")
    assert {key: found["metric"][key] for key in VALUES} == VALUES
    # All were 0.05 s: the bucket from 0.02 to 0.05 holds them.
    assert 0.02 < float(found["value"][1]) <= 0.05


def test_an_unknown_metric_is_found_out(prometheus: Prometheus) -> None:
    assert prometheus.query("medsweep_no_such_metric") == []


def test_alerts_go_off(prometheus: Prometheus) -> None:
    (found,) = prometheus.wait_for('ALERTS{alertname="MedSweepCellFailed", alertstate="firing"}')
    assert found["metric"]["sweep"] == "paper-cells"
