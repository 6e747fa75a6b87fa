"""Run a fine-tune under Ray Train, on the node that a hardware profile's labels select."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medsweep.cluster.causes import root_cause
from medsweep.cluster.cpus import take_cpus
from medsweep.errors import StageError
from medsweep.finetune.adapter import read_adapter
from medsweep.finetune.job import FineTuneJob, finetune
from medsweep.hardware.profile import HardwareProfile

POLL_S = "0.2"
"""How often Ray Train's controller looks at its workers; its default of 2 s is for long jobs."""


def finetune_on(
    profile: HardwareProfile, job: FineTuneJob, *, run_name: str, storage: Path
) -> None:
    """Fine-tune on the node of a hardware profile and wait for the adapter.

    Args:
        profile: selects the node by its labels; its CPUs are what the worker is given.
        job: what to do.
        run_name: Ray Train's name of the run; the same name resumes a run that was cut short.
        storage: where Ray Train keeps its own state.

    Raises:
        StageError: the fine-tune failed; the message holds the cause.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_S)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job, "cpus": profile.cpus},
        scaling_config=ScalingConfig(
            num_workers=1,
            resources_per_worker={"CPU": profile.cpus},
            label_selector=profile.labels,
        ),
        run_config=RunConfig(
            name=run_name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=1),
        ),
    )
    failures: list[str] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001 Ray Train wraps whatever the worker raised
            failures.append(root_cause(str(error)))

    # In the main thread Ray Train would take Ctrl-C for itself and end the program as if all were
    # well. Here the main thread only waits, and can be interrupted.
    thread = threading.Thread(target=fit, name="fit", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise StageError(f"fine-tune of {job.weights.spec.name}: {failures[0]}")
    read_adapter(job.folder)


def _worker(config: Mapping[str, Any]) -> None:
    """Run in the training worker: pin, train, report each epoch."""
    from ray import train

    job: FineTuneJob = config["job"]
    granted = take_cpus(config["cpus"])
    if job.folder.is_dir():
        return  # a retried run whose adapter was already whole
    report: Callable[[Mapping[str, Any]], None] = lambda row: train.report(dict(row))  # noqa: E731
    finetune(replace(job, provenance={**job.provenance, "cpus": asdict(granted)}), on_epoch=report)
