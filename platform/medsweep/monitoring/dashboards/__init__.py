"""Grafana's dashboards, built in Python; the JSON that the chart ships is made from them."""

from __future__ import annotations

import pkgutil
from typing import Any

NAMES = ("sweep", "latency", "quality", "finetune", "hardware", "serving")


def dashboards() -> dict[str, dict[str, Any]]:
    """Return each dashboard as Grafana imports it, by name."""
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    made = {}
    for name in NAMES:
        build = pkgutil.resolve_name(f"medsweep.monitoring.dashboards.{name}:build")
        made[name] = json.loads(JSONEncoder(sort_keys=True).encode(build()))
    return made
