"""What an external server says of itself: its models, its version and its metrics.

Names of metrics: vLLM 0.32 (`v1/metrics`) and its releases before 0.10, the documentation of
SGLang, TGI, llama.cpp's server and TensorRT-LLM, and MedSweep's own server.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

from medsweep.errors import StageError
from medsweep.loadgen.address import public_url, route_url
from medsweep.loadgen.failures import as_failure
from medsweep.telemetry.recording import Recording, Sample

_TIMEOUT_S = 10.0
_PERIOD_S = 1.0
_MOST_BYTES = 8 << 20

GAUGES = {
    "server_queue": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "tgi_queue_size",
        "llamacpp:requests_deferred",
        "medsweep_server_queued",
    ),
    "server_running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "tgi_batch_current_size",
        "llamacpp:requests_processing",
        "medsweep_server_running",
    ),
    "server_kv_use": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "llamacpp:kv_cache_usage_ratio",  # until its caches were unified, in 2025
    ),
}
"""Names of a gauge in the metrics of each server; `_perc` is a share from 0 to 1."""

_RANKS = ("tp_rank", "pp_rank", "moe_ep_rank")
"""Labels of SGLang's figures that are repeated for each GPU that a model is split over."""

ITERATIONS = (
    "/metrics has nothing for server_preemptions; the others are those of TensorRT-LLM's "
    "iterations, which it lists with enable_iter_perf_stats"
)
"""What TensorRT-LLM does not show: its `/metrics` are a JSON list of the iterations since the last
read, not text in the format of Prometheus."""

PREEMPTIONS = (
    "vllm:num_preemptions_total",
    "sglang:num_retracted_requests_total",
    "sglang:num_retracted_reqs_total",
)

_SETTINGS = ("owned_by", "root", "max_model_len")
"""What an entry of `/v1/models` may say beside the model's name."""

_VERSIONS = (
    ("version", "version", None),
    ("server_info", "version", "sglang"),
    ("get_server_info", "version", "sglang"),
    ("info", "version", "tgi"),
    ("api/version", "version", "ollama"),
    ("props", "build_info", "llama.cpp"),
)
"""Route below the server's root, field of its JSON, and whose route it is; None for several's."""


@dataclass(frozen=True)
class ForeignServer:
    """An external server: it runs already.

    Attributes:
        base_url: root of its OpenAI-compatible API with its version.
        headers: of every request, by name; not shown, since they hold keys.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def root(self) -> str:
        """The address below which `/metrics` and `/version` lie: that of the API, less its `v1`."""
        parts = urlsplit(self.base_url)
        path = parts.path.rstrip("/")
        above, _, last = path.rpartition("/")
        if last[:1] == "v" and last[1:].isdigit():
            path = above
        return parts._replace(path=path, fragment="").geturl()

    def get(self, url: str) -> tuple[int, bytes]:
        """Return status and body of an answer. Redirects are not followed: headers hold keys.

        Raises:
            StageError: no connection, or no answer in time.
        """
        parts = urlsplit(url)
        kind: Any = http.client.HTTPConnection
        options: dict[str, Any] = {"timeout": _TIMEOUT_S}
        if parts.scheme.lower() == "https":
            kind = http.client.HTTPSConnection
            options["context"] = ssl.create_default_context()
        connection = kind(parts.hostname, parts.port, **options)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET", target, headers={"user-agent": "medsweep", **self.headers})
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connected = getattr(connection, "sock", None) is not None
            words = (
                as_failure(error, connected=connected).words
                if isinstance(error, OSError | ValueError)
                else f"{type(error).__name__}: not an HTTP answer"
            )
            raise StageError(f"no answer from {public_url(url)}: {words}") from None
        finally:
            connection.close()

    def described(self, model: str) -> dict[str, Any]:
        """Return the columns of what the server says of itself and of a model.

        Args:
            model: the server's name of it.

        Raises:
            StageError: the server cannot be reached, or refuses the key.
        """
        url = route_url(self.base_url, "models")
        status, body = self.get(url)
        refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        # A restricted key of OpenAI may ask a model without the right to list them.
        if refused and b"Missing scopes" not in body:
            remedy = (
                "refuses the key: check what the variable of `api_key_env` holds"
                if "authorization" in self.headers
                else "requires a key: give the environment variable that holds it as `api_key_env`"
            )
            raise StageError(f"{public_url(url)} {remedy} (HTTP {status})")
        listed = _json(body).get("data") if status == HTTPStatus.OK else None
        entries = [each for each in listed or () if isinstance(each, dict)]
        entry = next((each for each in entries if each.get("id") == model), {})
        kept = {name: entry[name] for name in _SETTINGS if name in entry}
        return {
            "server_software": self._software(str(entry.get("owned_by") or "")),
            "engine_settings": json.dumps(kept, sort_keys=True) if kept else None,
        }

    def _software(self, owner: str) -> str | None:
        """Return name and version of the server; None where it does not give a version."""
        for route, name, software in _VERSIONS:
            try:
                status, body = self.get(route_below(self.root, route))
            except StageError:  # a route that the server does not have is no fault of its API
                continue
            version = _json(body).get(name) if status == HTTPStatus.OK else None
            if isinstance(version, str):
                return f"{software or owner or 'version'} {version}"
        return None

    def metrics(self) -> Sample:
        """Return what the server's `/metrics` show now; what is missing is said in the sample."""
        from prometheus_client.parser import text_string_to_metric_families

        sample = Sample(time.time())
        url = route_below(self.root, "metrics")
        try:
            status, body = self.get(url)
            if status != HTTPStatus.OK:
                raise StageError(f"the server has no /metrics (HTTP {status})")
            if body.lstrip()[:1] == b"[":
                sample.gauges = _last_iteration(json.loads(body))
                sample.missing["server"] = ITERATIONS
                return sample
            values: dict[str, dict[tuple[str, ...], float]] = {}
            for family in text_string_to_metric_families(body.decode(errors="replace")):
                for each in family.samples:
                    labels = (f"{name}={each.labels[name]}" for name in sorted(each.labels))
                    where = tuple(label for label in labels if not label.startswith(_RANKS))
                    ranks = values.setdefault(each.name, {})
                    ranks[where] = max(each.value, ranks.get(where, each.value))
        except StageError as error:
            sample.missing["server"] = str(error)
            return sample
        except ValueError:
            sample.missing["server"] = "/metrics is not in the format of Prometheus"
            return sample
        for gauge, names in GAUGES.items():
            if (found := _first(values, names)) is not None:
                # Replicas behind one server each have a cache of their own: the fullest counts.
                sample.gauges[gauge] = max(found) if gauge == "server_kv_use" else sum(found)
        if (found := _first(values, PREEMPTIONS)) is not None:
            sample.counters["server_preemptions"] = sum(found)
        absent = [name for name in GAUGES if name not in sample.gauges]
        absent += [] if sample.counters else ["server_preemptions"]
        if absent:
            sample.missing["server"] = f"/metrics has nothing for {', '.join(absent)}"
        return sample


class ServerWatch:
    """A context manager that reads a server's metrics from entry to exit, once a second.

    Args:
        server: the server.

    Attributes:
        recording: the samples, after the exit.
        lasted: True: whether a server that MedSweep did not deploy was restarted is not known.
    """

    lasted = True

    def __init__(self, server: ForeignServer) -> None:
        self._server = server
        self._samples: list[Sample] = []
        self._cost_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server metrics", daemon=True)
        self.recording: Recording | None = None

    def __enter__(self) -> Self:
        self._sample()
        first = self._samples[0]
        iterations = first.missing.get("server") == ITERATIONS
        if iterations:  # those before now are an earlier load's, and reading them removed them
            self._samples.clear()
            self._sample()
        # A server without metrics is not asked again and again.
        self._shown = bool(first.gauges or first.counters or iterations)
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._shown:
            self._thread.join()
            self._sample()
        self.recording = Recording(tuple(self._samples), self._cost_s)

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self._sample()

    def _sample(self) -> None:
        start_s = time.thread_time()
        self._samples.append(self._server.metrics())
        self._cost_s += time.thread_time() - start_s


def route_below(root: str, route: str) -> str:
    """Return the address of a route below a root, with the root's query behind it."""
    parts = urlsplit(root)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{route}").geturl()


def _first(
    values: Mapping[str, Mapping[tuple[str, ...], float]], names: tuple[str, ...]
) -> list[float] | None:
    return next((list(values[name].values()) for name in names if name in values), None)


def _last_iteration(iterations: Any) -> dict[str, float]:
    """Return the gauges of the latest of TensorRT-LLM's iterations; none without an iteration."""
    last = iterations[-1] if isinstance(iterations, list) and iterations else {}
    if not isinstance(last, dict):
        return {}
    cache = last.get("kvCacheStats") or {}
    used, blocks = cache.get("usedNumBlocks"), cache.get("maxNumBlocks")
    gauges = {
        "server_queue": last.get("numQueuedRequests"),
        "server_running": last.get("numActiveRequests"),
        "server_kv_use": used / blocks if used is not None and blocks else None,
    }
    return {name: float(value) for name, value in gauges.items() if value is not None}


def _json(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
