"""Prometheus metrics of a running fine-tune; Ray's agents export them with the prefix `ray_`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from medsweep.hardware.observe import ObservedHardware, matches
from medsweep.hardware.profile import HardwareProfile

LABELS = ("sweep", "model", "profile", "basis", "worker")

METRICS: dict[str, str] = {
    "medsweep_finetune_epoch": "Completed epochs",
    "medsweep_finetune_loss_nats": "Mean loss per answer token in training",
    "medsweep_finetune_eval_loss_nats": "Mean loss per answer token on the evaluation side",
    "medsweep_finetune_token_f1": "Token F1 of the answers to the held-out questions",
    "medsweep_finetune_tokens_per_second": "Training tokens per second in the last epoch",
    "medsweep_finetune_memory_bytes": "Peak memory of a worker: of its GPU, or resident",
}
"""Gauges by name; dashboards and the reference page are made from them."""


class Gauge(Protocol):
    """A metric that is set."""

    def set(self, value: float, tags: dict[str, str]) -> None:
        """Set its value for some labels."""
        ...


def ray_gauge(name: str, meaning: str) -> Gauge:
    """Return one of Ray's own gauges."""
    from ray.util.metrics import Gauge as RayGauge

    gauge: Gauge = RayGauge(name, meaning, tag_keys=LABELS)
    return gauge


class TrainingMetrics:
    """The gauges of one worker.

    Args:
        labels: a value for each of LABELS.
        gauge: makes a gauge of a name and a meaning.
    """

    def __init__(
        self, labels: Mapping[str, str], gauge: Callable[[str, str], Gauge] = ray_gauge
    ) -> None:
        self._labels = dict(labels)
        self._gauges = {name: gauge(name, meaning) for name, meaning in METRICS.items()}

    def epoch(self, row: Mapping[str, Any], memory_bytes: int) -> None:
        """Set the gauges after an epoch; null values are skipped.

        Args:
            row: of `training.parquet`.
            memory_bytes: peak memory of the worker.
        """
        values = {
            "epoch": row["epoch"],
            "loss_nats": row["loss"],
            "eval_loss_nats": row["eval_loss"],
            "token_f1": row.get("token_f1"),
            "tokens_per_second": row["tokens"] / row["seconds"] if row["seconds"] else None,
            "memory_bytes": memory_bytes,
        }
        for name, value in values.items():
            if value is not None:
                self._gauges[f"medsweep_finetune_{name}"].set(value, self._labels)


def basis_of(profile: HardwareProfile, observed: ObservedHardware) -> str:
    """Return `observed` if a worker's hardware is the profile's, otherwise `emulated`.

    Only the types are compared: Ray Train shows each worker its own GPU and share of CPUs alone.

    Args:
        profile: the profile to fine-tune on.
        observed: the hardware that the worker sees.
    """
    share = replace(
        profile,
        gpus=len(observed.gpus) or profile.gpus,
        cpus=int(observed.usable_cpus),
        host_memory_bytes=0,
    )
    return "observed" if matches(share, observed) is None else "emulated"


def memory_held_bytes() -> int:
    """Return the peak memory of this process: of its GPU, or without one its resident memory."""
    import resource

    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
