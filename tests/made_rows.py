"""Rows as a sweep writes them, and summaries, small and made to order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from medsweep.hardware.observe import ObservedHardware
from medsweep.loadgen.calibration import CALIBRATED, TRUTH, Calibration, ClientError
from medsweep.metrics.latency import LatencySketch, LatencySummary
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.reader import Results
from medsweep.results.schema import BENCHMARK, QUALITIES, RESPONSES

BLANK = {column.name: None for column in BENCHMARK}
UNANSWERED = {column.name: None for column in RESPONSES}

NODE = ObservedHardware(
    hostname="node",
    cpu_model="a processor",
    cpus=1,
    cpu_quota=None,
    memory_bytes=2**36,
    governor=None,
    gpus=("Tesla V100-SXM2-16GB",),
)
"""A machine with the hardware of `1xv100-1cpu`."""

REPLICA = {
    **asdict(NODE),
    "dtype": "float16",
    "gpu_use": None,
    "versions": "{}",
    "engine_settings": {"starts": 1},
    "cpu_throttled_periods": 3,
    "started_after_s": 2.0,
    "cores": [0],
    "threads": 1,
}
"""What the replica of an engine on that machine observes."""


def row(**values: Any) -> dict[str, Any]:
    """One row of benchmark.parquet."""
    return {
        **BLANK,
        "key": "k",
        "model": "m",
        "profile": "p",
        "variant": "adapter",
        "load_point": "c2",
        "repeat": 1,
        "status": "ok",
        "basis": "observed",
        "cpus": 2,
        "gpus": 0,
        "sent": 100,
        "failed": 0,
        **values,
    }


def summarise(values: Iterable[float | None]) -> LatencySummary:
    """The summary of one value per request."""
    sketch = LatencySketch()
    for value in values:
        sketch.add(value)
    return sketch.summary()


def calibration(
    concurrency: int = 8,
    *,
    error_s: float = 0.001,
    reached: float = 1.0,
    server: float = 1.0,
    server_late_s: float = 0.0,
) -> Calibration:
    """A calibration whose client adds `error_s` to every latency.

    Args:
        concurrency: requests in flight.
        error_s: of every latency and statistic, in seconds.
        reached: share of the server's rate that the client reached.
        server: share of its own ideal rate that the server reached.
        server_late_s: lateness of the server.
    """
    rate = server * concurrency / TRUTH.service_s
    errors = dict.fromkeys(CALIBRATED, ClientError(*[error_s] * 6))
    return Calibration(concurrency, errors, server_late_s, reached * rate, rate)


def repeats(figure: str, values: Sequence[float], **more: Any) -> list[dict[str, Any]]:
    """The repeats of one load point."""
    return [
        row(**{figure: value}, repeat=number, measured_at=f"2026-01-01T00:00:{number:02}", **more)
        for number, value in enumerate(values, 1)
    ]


def answers(scores: Sequence[float], words: int = 100, **more: Any) -> list[dict[str, Any]]:
    """One graded answer a question, with every figure of quality the same."""
    return [
        {
            **UNANSWERED,
            "variant": "adapter",
            "load_point": "c2",
            "question_id": f"q{number}",
            **dict.fromkeys(QUALITIES, score),
            "answer_words": words,
            **more,
        }
        for number, score in enumerate(scores)
    ]


def result_set(
    rows: list[dict[str, Any]], graded: dict[str, list[dict[str, Any]]] | None = None
) -> Results:
    """A result set of rows, and of answers by cell key."""
    return Results("set", rows, graded or {})


def request_record(**changes: Any) -> RequestRecord:
    """A measured request of a closed loop, answered with three tokens, with some fields changed."""
    values: dict[str, Any] = {
        "index": 0,
        "phase": "measure",
        "question_id": "q",
        "due_s": None,
        "sent_s": 0.0,
        "first_text_s": 0.5,
        "end_s": 1.0,
        "chunk_gaps_s": (0.25, 0.25),
        "chunk_tokens": (1, 1, 1),
        "prompt_tokens": 7,
        "output_tokens": 3,
        "token_source": "usage",
        "finish_reason": "stop",
        "status": "ok",
        "error": None,
        "text": "",
    }
    return RequestRecord(**{**values, **changes})
