"""Hardware: load of the nodes, and throttling."""

from __future__ import annotations

from typing import Any

from medsweep.monitoring.dashboards.panels import (
    SWEEP_VARIABLES,
    column_lines,
    dashboard,
    lines,
)
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

PREFIXES = ("gpu_", "cpu_", "engine_", "group_", "energy_")


def measured() -> list[Column]:
    """Return the columns of the results that describe the hardware's load."""
    return [
        column
        for column in BENCHMARK
        if column.name.startswith(PREFIXES) and column.kind in ("number", "integer")
    ]


def build() -> Any:
    """Return the dashboard."""
    panels = [
        lines(title, {"{{instance}} {{GpuIndex}}": query}, unit=unit, about=about)
        for title, (query, unit, about) in NODES.items()
    ]
    panels += [column_lines(column, span=8) for column in measured()]
    return dashboard("hardware", "hardware", panels, SWEEP_VARIABLES)
