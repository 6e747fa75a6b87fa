"""Everything that parses, on what nobody thought of: no exception but ours, no hang, one reading.

MEDSWEEP_FUZZ sets the number of examples; MEDSWEEP_FUZZ=100000 searches for an hour.
"""

import argparse
import asyncio
import contextlib
import csv
import io
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medsweep.cli.options import fraction, positive, seconds, seed
from medsweep.config import load_config
from medsweep.datasets.load import load_sources
from medsweep.datasets.spec import DatasetSpec
from medsweep.errors import MedSweepError
from medsweep.json_lines import parse
from medsweep.loadgen.address import check_url, public_url, route_url
from medsweep.loadgen.objective import parse_objective
from medsweep.loadgen.questions import read_prompts, read_replay
from medsweep.loadgen.spec import Prompt
from medsweep.loadgen.sse import SseParser
from medsweep.loadgen.stream import Stream
from medsweep.metrics.scored_lines import grade_lines
from medsweep.sweep.spec import SweepSpec

EXAMPLES = int(os.environ.get("MEDSWEEP_FUZZ", "60"))
bounded = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=60),
    derandomize="MEDSWEEP_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TEXT = st.text(st.characters(codec=None), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


def objects(*names: str) -> st.SearchStrategy[Any]:
    """JSON objects that mostly have these fields."""
    return st.dictionaries(st.sampled_from(names) | TEXT, VALUES, max_size=5)


BOM = b"\xef\xbb\xbf"
CHUNKS = st.builds(
    lambda outer, choice: {**outer, "choices": [choice]} if choice is not None else outer,
    objects("choices", "usage", "error", "object", "type", "message", "code", "detail"),
    st.none() | objects("delta", "text", "finish_reason", "error", "message"),
)
LINES = st.one_of(
    CHUNKS.map(lambda chunk: b"data: " + json.dumps(chunk).encode()),
    st.sampled_from(
        [
            b"data: [DONE]",
            b"event: error",
            b": ping",
            b"",
            b"data:",
            b"error: {}",
            b"{}",
            b"\xef\xbb\xbf",
        ]
    ),
    st.binary(max_size=40),
)
STREAMS = st.lists(
    st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n"])), max_size=8
).map(lambda parts: b"".join(line + end for line, end in parts))


def events(*pieces: bytes) -> list[Any]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.end()


@bounded
@given(STREAMS, st.data())
def test_a_stream_has_one_reading_however_it_is_split(stream: bytes, data: Any) -> None:
    first, second = (data.draw(st.integers(0, len(stream))) for _ in range(2))
    at_once = events(stream)
    assert events(stream[:first], stream[first:]) == at_once
    assert events(stream[:second], stream[second:]) == at_once
    assert events(*(bytes([byte]) for byte in stream)) == at_once


@bounded
@given(
    STREAMS | st.binary(max_size=200),
    st.sampled_from(["text/event-stream", "", "application/json", "text/html"]),
    st.sampled_from([200, 200, 200, 204, 307, 400, 404, 500]),
    st.data(),
)
def test_an_answer_becomes_one_record_however_it_is_split(
    body: bytes, content_type: str, status: int, data: Any
) -> None:
    prompt = Prompt("q", "Why does Mr Okonkwo cough?")

    async def record(*pieces: bytes) -> dict[str, Any]:
        stream = Stream(0, "measure", prompt, None, 0.0)
        stream.status, stream.content_type = status, content_type
        for piece in pieces:
            stream.take(piece, 1.0)
        stream.end(1.0)
        return stream.record(None, 1.0, keep_text=True).to_json()

    at = data.draw(st.integers(0, len(body)))
    at_once = asyncio.run(record(body))
    assert asyncio.run(record(body[:at], body[at:])) == at_once
    assert (at_once["status"] == "ok") == (at_once["error"] is None)
    json.dumps(at_once).encode()
    at_once["text"].encode()


def check(true: object) -> None:
    assert true


def ours(read: Any, *arguments: Any, **options: Any) -> Any:
    """What a reader returns; None where it refuses with an error that is ours, in words."""
    try:
        return read(*arguments, **options)
    except MedSweepError as error:
        check(str(error))
        return None


ROWS = objects(
    "question", "answer", "messages", "conversations", "instruction", "input", "output", "system"
)


@bounded
@given(
    st.lists(ROWS.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=40), max_size=6),
    st.sampled_from(["data.jsonl", "data.json"]),
)
def test_data_of_json(tmp_path: Path, lines: list[bytes], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines))
    spec = DatasetSpec(name="local", path=str(path), max_unusable_fraction=1.0)
    [loaded] = ours(load_sources, spec) or [None]
    if loaded is not None:
        assert loaded.rows == len(loaded.pairs) + sum(loaded.dropped.values())
    ours(read_prompts, path)
    ours(read_replay, path)
    graded = grade_lines(lines)
    assert all(each.problem for each in graded.bad)


@bounded
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6), st.text(max_size=3), st.data())
def test_data_of_csv(tmp_path: Path, rows: list[tuple[str, str]], inserted: str, data: Any) -> None:
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerows([("question", "answer"), *rows])
    text = written.getvalue().encode(errors="replace").decode()
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8", newline="")
    spec = DatasetSpec(name="local", path=str(path), max_unusable_fraction=1.0)
    whole = ours(load_sources, spec)
    if whole is not None:
        assert whole[0].rows == len(rows)  # what is well-formed is read, all of it
    at = data.draw(st.integers(0, len(text)))
    path.write_text(
        text[:at] + inserted + text[at:], encoding="utf-8", errors="replace", newline=""
    )
    ours(load_sources, spec)


@bounded
@given(st.binary(max_size=200), st.sampled_from(["a.parquet", "a.csv", "a.jsonl.gz", "a.csv.gz"]))
def test_data_of_any_bytes(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    ours(load_sources, DatasetSpec(name="local", path=str(tmp_path / name)))


GOOD = "name: a\ncells: [distilgpt2@host]\nseed: 1\nload:\n  points: [{concurrency: 1}]\n"
YAML = st.lists(
    st.sampled_from(list("{}[]&*a:-?!|>'\"#,\n \t%@0123456789.eE~<"))
    | st.characters(codec="utf-8"),
    max_size=12,
).map("".join)


@bounded
@given(
    YAML, st.integers(0, len(GOOD)), st.sampled_from(["seed", "load.points", "dataset.path", "x"])
)
def test_sweep_files(tmp_path: Path, inserted: str, at: int, field: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD[:at] + inserted + GOOD[at:], encoding="utf-8", newline="")
    ours(load_config, SweepSpec, path)
    path.write_text(GOOD, encoding="utf-8")
    ours(load_config, SweepSpec, path, [f"{field}={inserted}"])


@bounded
@given(TEXT | st.from_regex(r"[a-z0-9]{0,5}_[a-z0-9]{0,5}=[0-9.eE+-]{0,9}[a-z]{0,3}"))
def test_objectives_and_limits(text: str) -> None:
    """The little languages of `--slo`, and of `recommend`'s limits."""
    objective = ours(parse_objective, text)
    assert objective is None or 0 < objective.limit_s < float("inf")
    for read, low, high in ((seconds, 0, 1e308), (positive, 0, 1e308), (fraction, -1, 1)):
        with contextlib.suppress(argparse.ArgumentTypeError):
            assert low < read(text) <= high
    with contextlib.suppress(argparse.ArgumentTypeError):
        assert 0 <= seed(text) < 1 << 32


@bounded
@given(TEXT | TEXT.map(lambda text: f"http://{text}"), TEXT)
def test_addresses(url: str, secret: str) -> None:
    public_url(url)
    try:
        check_url(url)
    except MedSweepError as refused:
        check(len(str(refused).splitlines()) == 1)
    else:
        assert route_url(url, "completions").lower().startswith("http")
    hidden = f"http://user:s3cr{secret}et@host/v1"
    assert "s3cr" not in public_url(hidden)


@bounded
@given(VALUES.map(json.dumps) | TEXT)
def test_json_of_others(text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        check(str(error) in ("is not JSON", "is nested too deeply", "has a field twice"))
