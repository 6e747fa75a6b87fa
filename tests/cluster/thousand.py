"""The client of 1,000 jobs, as a program of its own: prints how many requests and how much memory.

`python thousand.py NAMESPACE`, with KUBECONFIG set. Prints one JSON object.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from medsweep.hardware.observe import host_profile
from medsweep.k8s.client import Api, connect
from medsweep.k8s.run import run_jobs
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.plan import Plan, make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec

MODELS = ("distilgpt2", "gemma-1.1-7b", "llama-3-8b", "llama-2-7b", "mistral-7b")
PROFILES = 200
AT_ONCE = 100
"""Jobs at one time; each has two pods."""


def thousand() -> SweepSpec:
    """A sweep of 1,000 cells."""
    names = [f"a100-{number}" for number in range(PROFILES)]
    profile: dict[str, Any] = {"cpus": 1, "gpus": 1, "accelerator": "a100", "host_memory_gib": 64}
    return make_spec(
        name="thousand",
        own_profiles=[{"name": name, **profile} for name in names],
        cells=[f"{model}@{name}" for model in MODELS for name in names],
    )


def planned(spec: SweepSpec) -> Plan:
    return make_plan(spec, "d" * 64, dict.fromkeys(model_names(spec), "r"), host_profile())


class Meter:
    """Counts the requests of an API server's client."""

    def __init__(self, api: Api) -> None:
        self.lists: Counter[str] = Counter()
        self.requests, self.most_at_once = 0, 0
        self._now, self._lock = 0, threading.Lock()
        pool = api.client.rest_client.pool_manager
        self._send, pool.request = pool.request, self.request

    def request(self, method: str, url: str, **options: Any) -> Any:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        with self._lock:
            self.requests += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            # The first page of a list; the others have a token, and a watch is open for long.
            if method == "GET" and "limit" in query and "continue" not in query:
                self.lists[parts.path.rsplit("/", 1)[1]] += 1
        try:
            return self._send(method, url, **options)
        finally:
            with self._lock:
                self._now -= 1


class Lines(io.StringIO):
    """Progress that is not kept; notes the memory in use at some of its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.done, self.rss_bytes = 0, {}  # type: ignore[var-annotated]

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if ": done (" in line:
                self.done += 1
                if self.done % 100 == 0:
                    self.rss_bytes[self.done] = rss_bytes()
        return len(text)


def rss_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    settings = ClusterSettings(namespace=sys.argv[1], operator_namespace=f"{sys.argv[1]}-operator")
    api, out, spec = connect(), Lines(), thousand()
    meter, plan = Meter(api), planned(spec)
    before_bytes = rss_bytes()
    states = run_jobs(api, spec, plan, settings, max_jobs=AT_ONCE, out=out)
    found = {
        "phases": Counter(each.job.phase for each in states),
        "lists": meter.lists,
        "requests": meter.requests,
        "most_at_once": meter.most_at_once,
        "planned_rss_bytes": before_bytes,
        "rss_bytes": out.rss_bytes,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
