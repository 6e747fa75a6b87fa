"""Hardware: load of the nodes, and throttling."""

from __future__ import annotations

from itertools import chain
from typing import Any

from medsweep.monitoring.dashboards.panels import (
    SWEEP_VARIABLES,
    column_bars,
    dashboard,
    folded,
    lines,
)
from medsweep.monitoring.rules import THROTTLED_SHARE
from medsweep.results.column import Column
from medsweep.results.schema import BENCHMARK

# Ray's series also carry ids of a process and a session; only the node's name is of interest.
NODES = {
    "CPU in use": (
        "avg by (instance) (ray_node_cpu_utilization)",
        "%",
        "Per cent of each node's CPUs.",
    ),
    "Memory in use": ("sum by (instance) (ray_node_mem_used)", "B", "Of each node."),
    "GPU in use": (
        "avg by (instance, GpuIndex) (ray_node_gpus_utilization)",
        "%",
        "Per cent of the time in which a kernel ran, however little of the GPU it used.",
    ),
    "GPU memory in use": (
        "sum by (instance, GpuIndex) (ray_node_gram_used) * 1048576",
        "B",
        "As the driver reports it, of all processes.",
    ),
}

ROWS = {
    "GPU, by measurement": ("gpu_",),
    "CPU, by measurement": ("cpu_",),
    "The engine's process and its control group, by measurement": ("engine_", "group_"),
    "Energy of 1,000 answers": ("energy_",),
}
"""Beginnings of the columns' names, by title of their folded row."""

LIMITS = dict.fromkeys(("gpu_throttled_share", "cpu_throttled_share", "cpu_steal"), THROTTLED_SHARE)
"""From where on a measurement suffers, as in the alerts."""


def measured(prefixes: tuple[str, ...] = tuple(chain.from_iterable(ROWS.values()))) -> list[Column]:
    """Return the columns of the results that describe the hardware's load."""
    return [
        column
        for column in BENCHMARK
        if column.name.startswith(prefixes) and column.kind in ("number", "integer")
    ]


def build() -> Any:
    """Return the dashboard."""
    panels = [
        lines(title, {"{{instance}} {{GpuIndex}}": query}, unit=unit, about=about)
        for title, (query, unit, about) in NODES.items()
    ]
    panels += [
        folded(
            title,
            [column_bars(each, limit=LIMITS.get(each.name)) for each in measured(prefixes)],
        )
        for title, prefixes in ROWS.items()
    ]
    return dashboard("hardware", "hardware", panels, SWEEP_VARIABLES)
