"""Grafana's dashboards, built in Python; the chart's JSON is generated from them."""

from __future__ import annotations

import pkgutil
from typing import Any

STAGES = {
    "name": "Stages of the run",
    "datasource": {"type": "prometheus", "uid": "${datasource}"},
    "enable": True,
    "iconColor": "blue",
    "expr": 'medsweep_stage_start_timestamp_seconds{sweep=~"$sweep"} * 1000',
    "step": "15s",
    "titleFormat": "{{stage}}",
    "textFormat": "{{sweep}}",
    "useValueForTime": True,
}
"""Annotation where a fine-tune, a deployment or a load began. No builder knows all its fields."""

NAMES = ("sweep", "latency", "quality", "finetune", "hardware", "serving")


def dashboards() -> dict[str, dict[str, Any]]:
    """Return each dashboard as Grafana imports it, by name."""
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    built = {}
    for name in NAMES:
        build = pkgutil.resolve_name(f"medsweep.monitoring.dashboards.{name}:build")
        built[name] = json.loads(JSONEncoder(sort_keys=True).encode(build()))
        if any(each["name"] == "sweep" for each in built[name]["templating"]["list"]):
            built[name]["annotations"] = {"list": [STAGES]}
    return built
