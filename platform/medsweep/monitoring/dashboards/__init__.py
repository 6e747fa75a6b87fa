"""Grafana's dashboards, built in Python; the chart's JSON is generated from them."""

from __future__ import annotations

import pkgutil
from typing import Any

NAMES = ("sweep", "latency", "quality", "finetune", "hardware", "serving")


def dashboards() -> dict[str, dict[str, Any]]:
    """Return each dashboard as Grafana imports it, by name."""
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    built = {}
    for name in NAMES:
        build = pkgutil.resolve_name(f"medsweep.monitoring.dashboards.{name}:build")
        built[name] = json.loads(JSONEncoder(sort_keys=True).encode(build()))
    return built
