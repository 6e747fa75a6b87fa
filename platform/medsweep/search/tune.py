"""Run the trials with Ray Tune, several at a time, in processes that are reused."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medsweep.cluster.ray_errors import root_cause
from medsweep.errors import StageError
from medsweep.finetune.job import FineTuneJob
from medsweep.search.record import Point
from medsweep.search.spec import SearchSpec

ENVIRONMENT = {
    # Ray Tune's own files are not kept; the records are ours.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A failed trial has nothing to report; its record holds the reason.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}


def run_trials(
    job: FineTuneJob,
    points: Sequence[Point],
    records: Path,
    spec: SearchSpec,
    *,
    cpus: int,
    gpus: int,
    tell: Callable[[Mapping[str, Any], Mapping[str, Any]], None],
    ended: Callable[[], None],
) -> None:
    """Run every trial to its end, or until ASHA stops it (Li et al., 2020).

    Args:
        job: the sweep's fine-tune.
        points: the grid, in order.
        records: folder of the trials' records.
        spec: the metric, and when a trial is stopped.
        cpus: CPUs of the connected Ray cluster.
        gpus: its GPUs; if there are any, each trial gets one.
        tell: called for each epoch with the point and its figures.
        ended: called when a trial has ended, or failed.

    Raises:
        StageError: Ray Tune failed; the records are kept.
    """
    os.environ |= ENVIRONMENT
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    at_once = spec.at_once or max(1, gpus or cpus)
    share = max(1, cpus // at_once)
    resources = {"CPU": share, **({"GPU": 1} if gpus else {})}

    class Tell(tune.Callback):  # type: ignore[misc]  # Ray has no types
        """Passes on what a trial reports."""

        # Arguments, because Ray Tune saves the class with everything that it refers to.
        def __init__(
            self,
            tell: Callable[[Mapping[str, Any], Mapping[str, Any]], None],
            ended: Callable[[], None],
        ) -> None:
            self.tell, self.ended = tell, ended

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray Tune saves its callbacks; a terminal cannot be saved

        def on_trial_result(self, *_: Any, trial: Any, result: dict[str, Any], **__: Any) -> None:
            self.tell(trial.config["point"], result)

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            self.ended()

        def on_trial_error(self, *_: Any, **__: Any) -> None:
            self.ended()

    records.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as storage:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_trainable, job=job, records=records, threads=share), resources
            ),
            param_space={"point": tune.grid_search(list(points))},
            tune_config=tune.TuneConfig(
                metric=spec.metric,
                mode="min" if spec.metric == "eval_loss" else "max",
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    max_t=job.recipe.epochs,
                    grace_period=min(spec.grace_epochs, job.recipe.epochs),
                    reduction_factor=spec.reduction,
                ),
                # Imports take longer than a small trial: a process takes one trial after another.
                reuse_actors=True,
                max_concurrent_trials=at_once,
            ),
            run_config=tune.RunConfig(
                name="search", storage_path=storage, verbose=0, callbacks=[Tell(tell, ended)]
            ),
        )
        problems = _fit(tuner)
    if problems:
        raise StageError(f"search: {problems[0]}")


def _fit(tuner: Any) -> list[str]:
    """Run the tuner in a thread; return what went wrong.

    In the main thread Ray Tune would take Ctrl-C for itself and end as if all were well. It prints
    a table also where it is told to be quiet; standard output is for the outcome.
    """
    problems: list[str] = []

    def fit() -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                trials = tuner.fit()
            problems.extend(root_cause(str(error)) for error in trials.errors)
        except Exception as error:  # noqa: BLE001 Ray Tune wraps whatever a trial raised
            problems.append(root_cause(str(error)))

    thread = threading.Thread(target=fit, name="fit", daemon=True)
    thread.start()
    thread.join()
    return problems


def _trainable(config: dict[str, Any], *, job: FineTuneJob, records: Path, threads: int) -> None:
    """Run in a worker: one trial."""
    import torch
    from ray import tune

    from medsweep.search.trial import run_trial

    torch.set_num_threads(threads)
    run_trial(job, config["point"], records, tune.report)
