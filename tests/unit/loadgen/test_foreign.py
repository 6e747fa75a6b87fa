"""What a server says of itself, against servers whose words are known."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from medsweep.errors import StageError
from medsweep.loadgen import foreign
from medsweep.loadgen.foreign import ForeignServer, ServerWatch
from medsweep.telemetry.window import window_columns

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="m"} 4.0
vllm:num_preemptions_created{engine="0",model_name="m"} 1.7e+09
"""
SGLANG = """\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m"} 1.0
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="m"} 2.0
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="m"} 0.28
"""
MODELS = '{"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 1024, "permission": []}]}'


class Handler(BaseHTTPRequestHandler):
    """Answers with the pages of its server."""

    pages: Mapping[str, tuple[int, str]]
    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        status, text = self.pages.get(self.path, (404, "{}"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", text)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(pages: Mapping[str, tuple[int, str]]) -> Iterator[tuple[str, type[Handler]]]:
    """A server with these pages, on 127.0.0.1."""
    handler = type("Pages", (Handler,), {"pages": dict(pages), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", handler
        finally:
            server.shutdown()
            thread.join()


def test_a_vllm_server_says_its_name_version_and_settings() -> None:
    pages = {"/v1/models": (200, MODELS), "/version": (200, '{"version": "0.32.0"}')}
    with serving(pages) as (url, handler):
        described = ForeignServer(url, {"authorization": "Bearer k"}).described("m")
    assert described == {
        "server_software": "vllm 0.32.0",
        "engine_settings": '{"max_model_len": 1024, "owned_by": "vllm"}',
    }
    assert {key for _, key in handler.asked} == {"Bearer k"}


@pytest.mark.parametrize(
    ("path", "text", "software"),
    [
        ("/server_info", '{"version": "0.5.9", "api_key": "secret"}', "sglang 0.5.9"),
        ("/api/version", '{"version": "0.13.0"}', "ollama 0.13.0"),
        ("/info", '{"version": "3.3.6", "model_id": "m"}', "tgi 3.3.6"),
        ("/props", '{"build_info": "b7100-abc"}', "llama.cpp b7100-abc"),
        ("/version", "[]", None),
    ],
)
def test_other_servers_say_theirs(path: str, text: str, software: str | None) -> None:
    with serving({path: (200, text)}) as (url, _):
        described = ForeignServer(url).described("m")
    assert described == {"server_software": software, "engine_settings": None}


def test_routes_lie_beside_the_api_and_the_query_stays() -> None:
    assert ForeignServer("http://h:1/team/v1").root == "http://h:1/team"
    assert ForeignServer("http://h:1/openai").root == "http://h:1/openai"
    assert ForeignServer("http://h:1/v1?api-version=2").root == "http://h:1?api-version=2"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_or_missing_is_said_plainly(status: int) -> None:
    with serving({"/v1/models": (status, "{}")}) as (url, _):
        with pytest.raises(StageError, match=f"refuses the key.*HTTP {status}") as error:
            ForeignServer(url, {"authorization": "Bearer hush"}).described("m")
        assert "hush" not in str(error.value)
        with pytest.raises(StageError, match="requires a key.*api_key_env"):
            ForeignServer(url).described("m")


def test_a_key_does_not_follow_a_redirect() -> None:
    with serving({}) as (other, elsewhere):
        with serving({"/v1/models": (302, f"{other}/models")}) as (url, _):
            ForeignServer(url, {"authorization": "Bearer hush"}).described("m")
        assert elsewhere.asked == []


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(StageError, match=r"no answer from http://127.0.0.1:9/v1/models: .*refused"):
        ForeignServer("http://127.0.0.1:9/v1").described("m")


def test_metrics_of_vllm_are_summed_over_its_engines_and_the_fullest_cache_counts() -> None:
    with serving({"/metrics": (200, VLLM)}) as (url, _):
        sample = ForeignServer(url).metrics()
    assert sample.gauges == {"server_running": 5.0, "server_queue": 7.0, "server_kv_use": 0.75}
    assert sample.counters == {"server_preemptions": 4.0}
    assert sample.missing == {}


def test_what_a_server_does_not_show_is_missing_with_its_reason() -> None:
    with serving({"/metrics": (200, SGLANG)}) as (url, _):
        sample = ForeignServer(url).metrics()
    assert sample.gauges == {"server_running": 1.0, "server_queue": 2.0, "server_kv_use": 0.28}
    assert sample.missing == {"server": "/metrics has nothing for server_preemptions"}
    with serving({}) as (url, _):
        sample = ForeignServer(url).metrics()
    assert (sample.gauges, sample.counters) == ({}, {})
    assert sample.missing == {"server": "the server has no /metrics (HTTP 404)"}
    with serving({"/metrics": (200, "<html>")}) as (url, _):
        sample = ForeignServer(url).metrics()
    assert sample.missing == {"server": "/metrics is not in the format of Prometheus"}


def test_schedulers_of_one_split_model_are_counted_once() -> None:
    # SGLang with --enable-metrics-for-all-schedulers: the ranks of a split model, two of these.
    text = "".join(
        f'sglang:num_running_reqs{{dp_rank="{dp}",tp_rank="{tp}",model_name="m"}} {3 + dp}.0\n'
        for dp in (0, 1)
        for tp in (0, 1, 2, 3)
    )
    with serving({"/metrics": (200, text)}) as (url, _):
        assert ForeignServer(url).metrics().gauges == {"server_running": 7.0}


def test_metrics_of_llama_cpp() -> None:
    text = (
        "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n"
        "# TYPE llamacpp:kv_cache_usage_ratio gauge\nllamacpp:kv_cache_usage_ratio 0.63\n"
    )
    with serving({"/metrics": (200, text)}) as (url, _):
        assert ForeignServer(url).metrics().gauges == {
            "server_running": 2.0,
            "server_queue": 1.0,
            "server_kv_use": 0.63,
        }
    off = '{"error": {"code": 501, "message": "This server does not support metrics endpoint."}}'
    with serving({"/metrics": (501, off)}) as (url, _):
        sample = ForeignServer(url).metrics()
    assert sample.missing == {"server": "the server has no /metrics (HTTP 501)"}


def test_iterations_of_tensorrt_llm_are_read_from_the_start_of_a_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Its documentation: "stored in an internal queue and removed once retrieved".
    earlier = [{"iter": 154, "numActiveRequests": 9, "kvCacheStats": {"maxNumBlocks": 8}}]
    during = [
        {"iter": 155, "numActiveRequests": 9, "numQueuedRequests": 9},
        {
            "iter": 156,
            "numActiveRequests": 5,
            "numQueuedRequests": 3,
            "kvCacheStats": {"usedNumBlocks": 25, "maxNumBlocks": 100},
        },
    ]
    reads = iter([earlier, [], during])
    monkeypatch.setattr(foreign, "_PERIOD_S", 1000.0)
    monkeypatch.setattr(
        ForeignServer, "get", lambda self, url: (200, json.dumps(next(reads)).encode())
    )
    with ServerWatch(ForeignServer("http://h/v1")) as watch:
        pass
    assert watch.recording is not None
    first, last = watch.recording.samples
    assert first.gauges == {}
    assert last.gauges == {"server_running": 5.0, "server_queue": 3.0, "server_kv_use": 0.25}
    columns = window_columns(watch.recording.samples, first.at_s, last.at_s)
    assert (columns["server_running_max"], columns["server_kv_use_max"]) == (5.0, 0.25)
    assert "server_requests_before" not in columns
    assert json.loads(columns["telemetry_missing"]) == {"server": foreign.ITERATIONS}


def test_a_key_that_may_not_list_models_is_no_fault() -> None:
    said = (
        '{"error": {"message": "You have insufficient permissions. Missing scopes: model.read."}}'
    )
    pages = {"/v1/models": (403, said), "/version": (200, '{"version": "1"}')}
    with serving(pages) as (url, _):
        described = ForeignServer(url, {"authorization": "Bearer k"}).described("m")
    assert described == {"server_software": "version 1", "engine_settings": None}


def test_the_columns_cover_before_during_and_after_a_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign, "_PERIOD_S", 1000.0)  # one sample at each end
    busier = VLLM.replace("} 7.0", "} 9.0").replace("} 4.0", "} 10.0")
    with (
        serving({"/metrics": (200, VLLM)}) as (url, handler),
        ServerWatch(ForeignServer(url)) as watch,
    ):
        handler.pages = {"/metrics": (200, busier)}
    assert watch.recording is not None
    first, last = watch.recording.samples
    columns = window_columns(watch.recording.samples, first.at_s, last.at_s)
    assert (columns["server_queue_mean"], columns["server_queue_max"]) == (8.0, 9.0)
    assert (columns["server_running_mean"], columns["server_kv_use_max"]) == (5.0, 0.75)
    assert columns["server_preemptions"] == 6.0
    assert columns["server_requests_before"] == 12.0
