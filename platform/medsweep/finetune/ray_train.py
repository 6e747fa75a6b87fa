"""Run a fine-tune under Ray Train, on the nodes that a hardware profile's labels select."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medsweep.cluster.cpu_pinning import take_cpus
from medsweep.cluster.emulation import has_gpus
from medsweep.cluster.ray_errors import root_cause
from medsweep.errors import StageError
from medsweep.finetune.adapter import read_adapter
from medsweep.finetune.epochs import EpochLog, LatestStep
from medsweep.finetune.job import FineTuneJob
from medsweep.finetune.session import finetune
from medsweep.finetune.train_metrics import TrainingMetrics, basis_of, memory_held_bytes
from medsweep.hardware.nvidia import require_gpus
from medsweep.hardware.observe import observe_host
from medsweep.hardware.profile import HardwareProfile

LOG = logging.getLogger(__name__)

POLL_S = "0.2"
"""Seconds between health checks by Ray Train's controller; its default of 2 s suits long jobs."""

EPOCHS_S = 0.5
"""Seconds between looks at the epoch log."""

READY_POLL_S = 0.05
"""Seconds between a worker's looks for the file that lets it train."""

READY_LIMIT_S = 120.0
"""Most seconds that a worker waits for that file; starting Ray Serve and nodes takes ten or so."""


def finetune_on(
    profile: HardwareProfile,
    *jobs: FineTuneJob,
    run_name: str,
    storage: Path,
    on_epoch: Callable[[FineTuneJob, Mapping[str, Any]], None] = lambda job, row: None,
    on_step: Callable[[Mapping[str, Any]], None] = lambda row: None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Fine-tune on the nodes of a hardware profile and wait for the adapters.

    Args:
        profile: selects the nodes by its labels. Each of its GPUs has a worker, and the workers
            share its CPUs. Nodes that emulate such GPUs have one worker.
        jobs: the fine-tunes, one after another in the same workers; all with the same recipe.
        run_name: Ray Train's name of the run. The same name resumes an interrupted run: keep it for
            retries, and give every repeat its own.
        storage: folder of Ray Train's own state, which the workers must see too.
        on_epoch: called with the job and its row of `training.parquet` after each epoch.
        on_step: called about twice a second with the newest step, as of `session.finetune`.
        meanwhile: called while the workers start, each of which mostly waits for another process.
            Training begins when it has returned, or after `READY_LIMIT_S`. Its failures are logged
            for debugging alone: it only does earlier what is done later too. The workers must be on
            this machine.

    Raises:
        StageError: a fine-tune failed, and those after it were not started; the message has the
            cause.
        InputError: a fresh run was requested, and an earlier one of that name exists.
    """
    for job in jobs:
        job.require_fresh(storage / run_name)
    gpus = profile.gpus if has_gpus(profile) else 0
    workers = jobs[0].recipe.workers or max(1, gpus)
    cpus = max(1, profile.cpus // workers)
    files = [storage / f"{run_name}.{place}.epochs" for place in range(len(jobs))]
    logs = [EpochLog(file) for file in files]
    steps = storage / f"{run_name}.step"
    latest = LatestStep(steps)
    latest.close()  # of an earlier start
    ready = storage / f"{run_name}.ready"
    ready.unlink(missing_ok=True)
    config = {
        # Ray Train restarts all workers if one dies; that continues the run.
        "jobs": [replace(job, fresh=False) for job in jobs],
        "cpus": cpus,
        "profile": profile,
        "needs_gpu": gpus > 0,
        "epochs": files,
        "steps": steps,
        "ready": None if meanwhile is None else ready,
    }
    trainer = _trainer(config, workers, run_name, storage)
    failures: list[str] = []

    def fit() -> None:
        try:
            if gpus:
                _require_gpus(profile, workers, cpus)
            trainer.fit()
        except Exception as error:  # noqa: BLE001 Ray Train wraps whatever the worker raised
            failures.append(root_cause(str(error)))

    # In the main thread Ray Train would handle Ctrl-C itself and exit with success. Here the main
    # thread only waits, and can be interrupted.
    thread = threading.Thread(target=fit, name="fit", daemon=True)
    thread.start()
    if meanwhile is not None:
        try:
            meanwhile()
        except Exception as error:  # noqa: BLE001 what it does is done again later
            LOG.debug("what starts beside the fine-tune failed: %s", error)
        ready.parent.mkdir(parents=True, exist_ok=True)
        ready.touch()
    waiting = True
    while waiting:
        thread.join(EPOCHS_S)
        waiting = thread.is_alive()  # before reading the last epochs
        for job, log in zip(jobs, logs, strict=True):
            for row in log.new():
                on_epoch(job, row)
        if (step := latest.read()) is not None:
            on_step(step)
    for log in logs:
        log.close()
    latest.close()
    ready.unlink(missing_ok=True)
    if failures:
        names = ", ".join(job.weights.spec.name for job in jobs)
        raise StageError(f"fine-tune of {names}: {failures[0]}")
    for job in jobs:
        read_adapter(job.folder)


def _trainer(config: Mapping[str, Any], workers: int, run_name: str, storage: Path) -> Any:
    """Return Ray Train's trainer of a run.

    Args:
        config: what each worker is told; see `_worker`.
        workers: number of workers.
        run_name: as in `finetune_on`.
        storage: as in `finetune_on`.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_S)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    gpu = config["needs_gpu"]
    return TorchTrainer(
        _worker,
        train_loop_config=dict(config),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": config["cpus"], **({"GPU": 1} if gpu else {})},
            label_selector=config["profile"].labels,
        ),
        run_config=RunConfig(
            name=run_name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=1),
        ),
    )


def _require_gpus(profile: HardwareProfile, workers: int, cpus: int) -> None:
    """Check where the workers will run that each has a GPU.

    Without one, NCCL fails before the workers reach their own check, and says less.

    Raises:
        RayTaskError: an EnvironmentFault of `require_gpus`.
    """
    import ray

    check = ray.remote(require_gpus).options(
        num_cpus=cpus, num_gpus=1, label_selector=profile.labels, max_retries=0
    )
    ray.get([check.remote(replace(profile, gpus=1)) for _ in range(workers)])


def _worker(config: Mapping[str, Any]) -> None:
    """Run in each training worker: pin, train, report each epoch."""
    from ray import train

    if config["needs_gpu"]:
        # Ray shows each worker its own GPU only.
        require_gpus(replace(config["profile"], gpus=1))
    if config["ready"] is not None:
        _await_ready(config["ready"])
    granted = take_cpus(config["cpus"], after=config["cpus"] * train.get_context().get_local_rank())
    for job, epochs in zip(config["jobs"], config["epochs"], strict=True):
        if not job.folder.is_dir():  # as in a retried run whose adapter was already complete
            known = {"cpus": asdict(granted), "basis": basis_of(config["profile"], observe_host())}
            job = replace(job, provenance={**job.provenance, **known})
            _finetune(job, config["profile"], epochs, config["steps"])


def _await_ready(ready: Path) -> None:
    """Wait for the file that lets a worker train, at most `READY_LIMIT_S`."""
    deadline_s = time.monotonic() + READY_LIMIT_S
    while not ready.exists() and time.monotonic() < deadline_s:
        time.sleep(READY_POLL_S)


def _finetune(job: FineTuneJob, profile: HardwareProfile, epochs: Path, steps: Path) -> None:
    from ray import train

    labels = {
        "sweep": str(job.provenance.get("sweep", "")),
        "model": job.weights.spec.name,
        "profile": profile.name,
        "basis": str(job.provenance["basis"]),
        "worker": str(train.get_context().get_world_rank()),
    }
    metrics = TrainingMetrics(labels)

    def report(row: Mapping[str, Any]) -> None:
        metrics.epoch(row, memory_held_bytes())
        if train.get_context().get_world_rank() == 0:
            EpochLog.add(epochs, row)
        train.report(dict(row))

    finetune(job, on_epoch=report, on_step=LatestStep(steps).write)
