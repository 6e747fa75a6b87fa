"""A server's metrics: one table, written to Prometheus and to Ray's own metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from medsweep.metrics.latency import LATENCY_BUCKETS_S

PREFIX = "medsweep_server_"

OUTCOMES = {
    "ok": "answered completely",
    "cancelled": "the client disconnected; generation stopped",
    "timeout": "not finished in time (408); generation stopped",
    "queue_full": "the queue was full (429)",
    "unauthorized": "no API key or a wrong one (401), or a foreign Host or Origin (403)",
    "not_found": "no such model or route (404)",
    "invalid": "a faulty request (400, 405, 415)",
    "too_large": "the body was too long (413) or had too many headers (431)",
    "failed": "an error of the server (500, 503)",
}
"""How a request can end: the values of the label `outcome`."""

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: name without `medsweep_server_`, with its unit; `_total` is added to counters.
        kind: Prometheus type.
        meaning: one sentence.
        labels: names of its labels.
        buckets: upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that Prometheus scrapes."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _times(name: str, meaning: str) -> Metric:
    return Metric(f"{name}_seconds", "histogram", meaning, ("model",), LATENCY_BUCKETS_S)


REQUEST_METRICS = (
    Metric("requests", "counter", "Requests by outcome", ("model", "outcome")),
    _times("queue", "Time from a request's arrival to the start of its prefill"),
    _times("prefill", "Time from the start of the prefill to the first token, in the engine"),
    _times("ttft", "Time from a request's arrival to the first text of its answer"),
    _times("inter_token", "Time per output token after the first text"),
    _times("e2e", "Time from a request's arrival to the end of its answer"),
    Metric(
        "batch_size",
        "histogram",
        "Requests in the batch when an answer began",
        ("model",),
        SIZES,
    ),
    Metric("prompt_tokens", "counter", "Prompt tokens of answered requests", ("model",)),
    Metric("output_tokens", "counter", "Output tokens, including cancelled answers", ("model",)),
    Metric("running", "gauge", "Requests that are running"),
    Metric("queued", "gauge", "Requests that wait for a slot"),
)
"""Metrics of the process that receives requests."""

ADAPTER_METRICS = (
    Metric("adapters_loaded", "gauge", "Adapters in memory"),
    Metric("adapter_loads", "counter", "Adapter loads by outcome", ("outcome",)),
    Metric("adapter_evictions", "counter", "Adapters evicted to make room"),
    Metric(
        "adapter_load_seconds",
        "histogram",
        "Time from the first request for an adapter until it is in memory",
        (),
        LATENCY_BUCKETS_S,
    ),
)
"""Metrics of the process that holds the model."""

METRICS = REQUEST_METRICS + ADAPTER_METRICS
"""All metrics of a server. Dashboards and the reference page are built from this."""


class Sink(Protocol):
    """Receives values of metrics."""

    def record(self, metric: Metric, value: float, labels: tuple[str, ...]) -> None:
        """Count, set or observe one value, with a value for each of the metric's labels."""
        ...


class PrometheusSink:
    """A Prometheus registry of its own, for a `/metrics` route.

    Args:
        metrics: the metrics to register.
    """

    def __init__(self, metrics: Sequence[Metric] = METRICS) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._parents: dict[str, Any] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        for metric in metrics:
            arguments: dict[str, Any] = {"registry": self._registry}
            if metric.kind == "histogram":
                arguments["buckets"] = metric.buckets
            kind = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}[metric.kind]
            self._parents[metric.name] = kind(
                PREFIX + metric.name, metric.meaning, metric.labels, **arguments
            )

    def record(self, metric: Metric, value: float, labels: tuple[str, ...]) -> None:
        """Count, set or observe one value."""
        write = self._children.get((metric.name, labels))
        if write is None:
            parent = self._parents[metric.name]
            child = parent.labels(*labels) if labels else parent
            methods = {"counter": "inc", "gauge": "set", "histogram": "observe"}
            write = getattr(child, methods[metric.kind])
            self._children[metric.name, labels] = write
        write(value)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


class RaySink:
    """Ray's metrics, which its agents export on every node with the prefix `ray_`.

    Args:
        metrics: the metrics to register.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        self._metrics: dict[str, Any] = {}
        for metric in metrics:
            arguments: dict[str, Any] = {"tag_keys": metric.labels}
            if metric.kind == "histogram":
                arguments["boundaries"] = list(metric.buckets)
            kind = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}[metric.kind]
            self._metrics[metric.name] = kind(PREFIX + metric.name, metric.meaning, **arguments)

    def record(self, metric: Metric, value: float, labels: tuple[str, ...]) -> None:
        """Count, set or observe one value."""
        tags = dict(zip(metric.labels, labels, strict=True))
        target = self._metrics[metric.name]
        if metric.kind == "counter":
            if value > 0:  # Ray raises an error for 0
                target.inc(value, tags)
        elif metric.kind == "gauge":
            target.set(value, tags)
        else:
            target.observe(value, tags)


@dataclass
class RequestTimes:
    """Times and counts of one request; times are seconds on the server's clock.

    Attributes:
        model: name of the requested model.
        arrived_s: when the request arrived.
        begun_s: when it was admitted; None while it waits.
        first_text_s: when the first text was sent.
        last_s: when the last piece was sent.
        token_s: duration and number of tokens of every piece of the answer after the first.
        engine_queue_s: time spent waiting in the engine.
        prefill_s: duration of the prefill; None if unknown.
        batch_size: requests in the batch when the answer began; None if unknown.
        prompt_tokens: tokens of the prompt; 0 until known.
        output_tokens: tokens of the answer so far.
    """

    model: str
    arrived_s: float
    begun_s: float | None = None
    first_text_s: float | None = None
    last_s: float = 0.0
    token_s: list[tuple[float, int]] = field(default_factory=list)
    engine_queue_s: float = 0.0
    prefill_s: float | None = None
    batch_size: int | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0


class ServerMetrics:
    """Writes every value to all sinks.

    Args:
        sinks: receivers of the values.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._table = {metric.name: metric for metric in METRICS}

    def record(self, name: str, value: float, *labels: str) -> None:
        """Count, set or observe one value.

        Args:
            name: name of a metric in METRICS.
            value: the increment of a counter, the value of a gauge, or one sample of a histogram.
            labels: a value for each of the metric's labels, in their order.
        """
        for sink in self._sinks:
            sink.record(self._table[name], value, labels)

    def refused(self, outcome: str) -> None:
        """Count a request that ended before its model was known.

        Args:
            outcome: one of OUTCOMES.
        """
        self.record("requests", 1, "", outcome)

    def ended(self, outcome: str, times: RequestTimes, ended_s: float) -> None:
        """Record a request that has ended.

        Args:
            outcome: one of OUTCOMES.
            times: the request's times and counts.
            ended_s: when it ended, on the server's clock.
        """
        model = times.model
        self.record("requests", 1, model, outcome)
        if times.output_tokens:
            self.record("output_tokens", times.output_tokens, model)
        if outcome != "ok":
            return
        self.record("prompt_tokens", times.prompt_tokens, model)
        self.record("e2e_seconds", ended_s - times.arrived_s, model)
        begun_s = times.begun_s if times.begun_s is not None else ended_s
        samples: Iterable[tuple[str, float | None]] = (
            ("queue_seconds", begun_s - times.arrived_s + times.engine_queue_s),
            ("prefill_seconds", times.prefill_s),
            ("batch_size", times.batch_size),
            (
                "ttft_seconds",
                None if times.first_text_s is None else times.first_text_s - times.arrived_s,
            ),
        )
        for name, value in samples:
            if value is not None:
                self.record(name, value, model)
        for gap_s, tokens in times.token_s:
            for _ in range(tokens):
                self.record("inter_token_seconds", gap_s / tokens, model)
