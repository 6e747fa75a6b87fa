"""Pairs of profiles in which the better hardware was not faster, and why.

The paper leaves this question open: its A100 answers more slowly than its V100, and more than two
CPUs bring no gain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from medsweep.hardware.catalog import ACCELERATORS
from medsweep.results.aggregate import mean
from medsweep.telemetry.bound import MEANINGS, Cause

Row = Mapping[str, Any]

# A smaller gain is not worth paying for.
LEAST_GAIN = 0.05


@dataclass(frozen=True)
class ScalingAnomaly:
    """Two profiles of which the better one is not faster.

    Attributes:
        model: the model that ran on both.
        load_point: the load.
        less: profile with fewer CPUs or GPUs, or with the slower type of GPU.
        more: the better profile.
        gain: ratio of the better profile's output tokens per second to the other's, minus 1.
        why: in words, from the bottleneck of each of them.
    """

    model: str
    load_point: str
    less: str
    more: str
    gain: float
    why: str


def scaling_anomalies(rows: Sequence[Row]) -> list[ScalingAnomaly]:
    """Return the pairs of profiles of which the better one gains less than 5 %.

    Better means more CPUs, more GPUs of the same type, or a GPU with more memory bandwidth, and
    nothing less. Only observed rows count, because emulated ones ran on the same machine.

    Args:
        rows: rows of `benchmark.parquet`. Repeats are averaged, and their most frequent bottleneck
            is taken.
    """
    cells: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        if row["status"] == "ok" and row["basis"] == "observed" and row["variant"] == "adapter":
            group = cells.setdefault((row["model"], row["load_point"]), {})
            group.setdefault(row["profile"], []).append(row)
    anomalies = []
    for (model, point), profiles in cells.items():
        for less, more in permutations(profiles.values(), 2):
            if _is_better(more[0], less[0]):
                rates = [mean(side, "output_tokens_per_s") for side in (less, more)]
                if rates[0] and rates[1] and (gain := rates[1] / rates[0] - 1) < LEAST_GAIN:
                    anomalies.append(
                        ScalingAnomaly(
                            model=model,
                            load_point=point,
                            less=less[0]["profile"],
                            more=more[0]["profile"],
                            gain=gain,
                            why=_why(less, more),
                        )
                    )
    return anomalies


def _is_better(more: Row, less: Row) -> bool:
    if more["cpus"] < less["cpus"] or more["gpus"] < less["gpus"]:
        return False
    if more["accelerator"] == less["accelerator"]:
        return bool(more["cpus"] > less["cpus"] or more["gpus"] > less["gpus"])
    return _bandwidth(more) > _bandwidth(less)


def _bandwidth(row: Row) -> float:
    for accelerator in ACCELERATORS.values():
        if accelerator.name == row["accelerator"]:
            return accelerator.memory_bandwidth_bytes_per_s or 0.0
    return 0.0


def _why(less: Sequence[Row], more: Sequence[Row]) -> str:
    first, second = (side[0]["engine"] for side in (less, more))
    engines = "" if first == second else f"they had different engines, {first} and {second}; "
    causes = [_usual(side) for side in (less, more)]
    if causes[1] is None:
        return f"{engines}not known: no sensor showed the bottleneck"
    cause = f"{more[0]['profile']} was bound by `{causes[1]}`: {MEANINGS[causes[1]]}"
    if causes[0] == causes[1]:
        cause = f"both were bound by `{causes[1]}`: {MEANINGS[causes[1]]}"
    facts = [
        f"{name} {' and '.join(_shown(mean(side, column), scale) for side in (less, more))}{unit}"
        for name, column, scale, unit in (
            ("GPU busy", "gpu_utilisation", 100, " %"),
            ("busiest thread", "engine_thread_busy", 100, " %"),
            ("CPUs used", "engine_cpu_cores", 1, ""),
            ("CPU clock", "cpu_clock_hz", 1e-9, " GHz"),
        )
        if any(mean(side, column) is not None for side in (less, more))
    ]
    return engines + (f"{cause} ({'; '.join(facts)})" if facts else cause)


def _usual(rows: Sequence[Row]) -> Cause | None:
    causes = Counter[Cause](row["bound"] for row in rows if row.get("bound") is not None)
    return causes.most_common(1)[0][0] if causes else None


def _shown(value: float | None, scale: float) -> str:
    return "?" if value is None else f"{value * scale:.3g}"
