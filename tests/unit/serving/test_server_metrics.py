import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from medsweep.serving.server_metrics import (
    METRICS,
    OUTCOMES,
    PrometheusSink,
    RequestTimes,
    ServerMetrics,
)


class ListSink:
    """Remembers what was recorded."""

    def __init__(self) -> None:
        self.values: list[tuple[str, float, tuple[str, ...]]] = []

    def record(self, metric: Any, value: float, labels: tuple[str, ...]) -> None:
        assert len(labels) == len(metric.labels)
        self.values.append((metric.name, value, labels))


def test_the_table() -> None:
    names = [metric.full_name for metric in METRICS]
    assert len(names) == len(set(names)) == 15
    for metric in METRICS:
        assert re.fullmatch(r"medsweep_server_[a-z0-9_]+", metric.full_name)
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.meaning


def test_every_metric_is_scraped_by_its_full_name() -> None:
    sink = PrometheusSink()
    metrics = ServerMetrics([sink])
    for metric in METRICS:
        metrics.record(metric.name, 2, *("x" for _ in metric.labels))
    families = {
        family.name: family for family in text_string_to_metric_families(sink.text().decode())
    }
    for metric in METRICS:
        family = families[metric.full_name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        names = {sample.name for sample in family.samples}
        suffix = "_bucket" if metric.kind == "histogram" else ""
        assert metric.full_name + suffix in names


def test_every_sink_gets_everything_and_a_misspelt_metric_is_an_error() -> None:
    sinks = [ListSink(), ListSink()]
    metrics = ServerMetrics(sinks)
    metrics.record("requests", 1, "m", "ok")
    assert [sink.values for sink in sinks] == [[("requests", 1, ("m", "ok"))]] * 2
    with pytest.raises(KeyError):
        metrics.record("request", 1)


def test_only_answers_to_the_end_are_timed() -> None:
    sink = ListSink()
    metrics = ServerMetrics([sink])
    times = RequestTimes("m", 10.0, 11.0, 12.0, 14.0, [(1.0, 1), (1.0, 2)], 0.5, 0.25, 3, 7, 4)
    metrics.ended("cancelled", times, 15.0)
    assert sink.values == [("requests", 1, ("m", "cancelled")), ("output_tokens", 4, ("m",))]
    sink.values.clear()
    metrics.ended("ok", times, 15.0)
    assert sorted(value[:2] for value in sink.values) == [
        ("batch_size", 3),
        ("e2e_seconds", 5.0),
        ("inter_token_seconds", 0.5),
        ("inter_token_seconds", 0.5),
        ("inter_token_seconds", 1.0),
        ("output_tokens", 4),
        ("prefill_seconds", 0.25),
        ("prompt_tokens", 7),
        ("queue_seconds", 1.5),
        ("requests", 1),
        ("ttft_seconds", 2.0),
    ]


def test_every_outcome_is_explained() -> None:
    assert set(OUTCOMES) >= {"ok", "cancelled", "timeout", "failed"}
    assert all(OUTCOMES.values())
