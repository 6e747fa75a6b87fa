"""Prometheus: live metrics while a sweep runs, and a textfile of the final figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from medsweep.errors import EnvironmentFault
from medsweep.metrics.latency import LATENCY_BUCKETS_S
from medsweep.metrics.request_record import RequestRecord
from medsweep.monitoring.live_server import LiveServer, Page
from medsweep.results.schema import BENCHMARK, QUALITIES

LABELS = ("sweep", "model", "profile", "load_point", "variant", "basis")

LIVE = (
    *("requests_per_s", "output_tokens_per_s", "goodput_rps", "ttft_mean_s", "e2e_mean_s"),
    *QUALITIES,
    *("gpu_utilisation", "gpu_memory_used_bytes", "gpu_power_w", "gpu_throttled_share"),
    *("cpu_busy", "cpu_throttled_share", "client_limited"),
)

LIVE_GAUGES = tuple(column for column in BENCHMARK if column.name in LIVE)

NUMBERS = tuple(
    column
    for column in BENCHMARK
    if column.kind in ("number", "integer") and column.name not in ("repeat",)
)


class LiveMetrics:
    """The `/metrics` endpoint of a run.

    Args:
        port: TCP port; 0 takes a free one.
        host: address to listen on: the loopback, or all addresses of a pod for Prometheus.

    Attributes:
        is_local: whether only this machine reaches it.
        root: address of the pages for people.
        url: address of the metrics.

    Raises:
        EnvironmentFault: the port is in use.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            make_wsgi_app,
        )

        registry = CollectorRegistry()
        self._histograms = {
            name: Histogram(
                f"medsweep_{name}_seconds",
                meaning,
                LABELS,
                registry=registry,
                buckets=LATENCY_BUCKETS_S,
            )
            for name, meaning in (
                ("ttft", "Time to the first chunk that carries text"),
                ("inter_token", "Gap between output tokens"),
                ("e2e", "Time to the end of the answer"),
            )
        }
        self._requests = Counter(
            "medsweep_requests", "Measured requests", (*LABELS, "status"), registry=registry
        )
        self._gauges = {
            column.name: Gauge(column.metric, column.meaning, LABELS, registry=registry)
            for column in LIVE_GAUGES
        }
        self._cells = Gauge(
            "medsweep_cells", "Cells by state", ("sweep", "state"), registry=registry
        )
        self._planned = Gauge(
            "medsweep_cell_planned",
            "1 for each cell of the sweep, from the start of the run",
            ("sweep", "model", "profile"),
            registry=registry,
        )
        self._stages = Gauge(
            "medsweep_stage_start_timestamp_seconds",
            "Time at which a step of this stage began last, in seconds since 1970",
            ("sweep", "stage"),
            registry=registry,
        )
        self._progress = Gauge(
            "medsweep_last_progress_timestamp_seconds",
            "Time at which a request or a cell ended last, in seconds since 1970",
            ("sweep",),
            registry=registry,
        )
        try:
            self._server = LiveServer(port, host, make_wsgi_app(registry))
        except OSError as error:
            raise EnvironmentFault(
                f"--metrics-port {port}: {error.strerror}; give another, or 0 for a free one"
            ) from None
        self.is_local = host == "127.0.0.1"
        self.root = f"http://{host}:{self._server.port}/"
        self.url = f"{self.root}metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def show(self, pages: Mapping[str, Page]) -> None:
        """Serve pages for people beside the metrics, by their path, where only this machine sees.

        In a pod, whose metrics all of the cluster can read, there are none.
        """
        if self.is_local:
            self._server.pages.update(pages)

    def request(self, labels: Mapping[str, str], record: RequestRecord) -> None:
        """Count one finished request, if it is a measured one.

        Args:
            labels: a value for each of LABELS.
            record: of the load generator.
        """
        if record.phase != "measure":
            return
        self._requests.labels(**labels, status=record.status).inc()
        self._progress.labels(sweep=labels["sweep"]).set_to_current_time()
        if record.status != "ok":
            return
        self._histograms["e2e"].labels(**labels).observe(record.e2e_s)
        if record.ttft_s is not None:
            self._histograms["ttft"].labels(**labels).observe(record.ttft_s)
        for gap in record.itl_s:
            self._histograms["inter_token"].labels(**labels).observe(gap)

    def figures(self, labels: Mapping[str, str], row: Mapping[str, Any]) -> None:
        """Set the gauges from the row of one measurement; null columns are not set."""
        for name, gauge in self._gauges.items():
            if row.get(name) is not None:
                gauge.labels(**labels).set(row[name])

    def planned(self, sweep: str, cells: Iterable[tuple[str, str]]) -> None:
        """Show the cells of a sweep, so that they can be chosen before any is measured.

        Args:
            sweep: its name.
            cells: model and profile of each.
        """
        for model, profile in cells:
            self._planned.labels(sweep=sweep, model=model, profile=profile).set(1)

    def stage(self, sweep: str, stage: str) -> None:
        """Note that a step of a stage ("fine-tune", "deploy", "load") begins."""
        self._stages.labels(sweep=sweep, stage=stage).set_to_current_time()

    def cells(self, sweep: str, states: Mapping[str, int]) -> None:
        """Set the number of cells in each state."""
        self._progress.labels(sweep=sweep).set_to_current_time()
        for state, count in states.items():
            self._cells.labels(sweep=sweep, state=state).set(count)


def textfile(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the final figures in Prometheus' text format, for node exporter's textfile collector.

    Args:
        rows: rows of `benchmark.parquet`; each repeat is a series of its own.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    labels = (*LABELS, "repeat")
    gauges = {
        column.name: Gauge(column.metric, column.meaning, labels, registry=registry)
        for column in NUMBERS
    }
    status = Gauge(
        "medsweep_cell_status",
        "1 for the state of a row's cell",
        ("sweep", "model", "profile", "basis", "status"),
        registry=registry,
    )
    for row in rows:
        status.labels(
            **{name: row[name] or "" for name in ("sweep", "model", "profile", "basis", "status")}
        ).set(1)
        if row["status"] != "ok":
            continue
        values = {name: str(row[name]) for name in labels}
        for name, gauge in gauges.items():
            if row.get(name) is not None:
                gauge.labels(**values).set(row[name])
    return generate_latest(registry).decode()
