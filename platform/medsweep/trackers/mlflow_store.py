"""Results as runs of MLflow, in a file store or on a tracking server."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

from medsweep.errors import EnvironmentFault
from medsweep.results.files import BENCHMARK_FILE
from medsweep.trackers.runs import TrackedRun, artifacts_in

LONGEST_TAG = 5000
"""Characters of a tag or a parameter that every version of MLflow takes."""

SHA256_TAG = "medsweep.benchmark_sha256"


def export_to_mlflow(
    runs: Sequence[TrackedRun], folder: Path, experiment: str, target: str
) -> tuple[str, bool]:
    """Write a result set as a run with its files, and below it one run per row.

    Args:
        runs: the rows.
        folder: of the result set.
        experiment: name of MLflow's experiment; made if it is absent.
        target: a folder, or the URL of a tracking server.

    Returns:
        Id of the result set's run, and whether this call wrote it: the same `benchmark.parquet` is
        not written twice.

    Raises:
        EnvironmentFault: the server does not answer, or refuses.
        MissingPackage: MLflow is not installed.
    """
    # MLflow wants new users to take a database; its client alone has no other local store.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # With a server it prints an address per run, in the midst of this command's own output.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowException

    try:
        return _export(runs, folder, experiment, target)
    except (MlflowException, OSError) as error:
        raise EnvironmentFault(f"MLflow at {target}: {error}") from None


def _export(
    runs: Sequence[TrackedRun], folder: Path, experiment: str, target: str
) -> tuple[str, bool]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(target if "://" in target else Path(target).resolve().as_uri())
    known = client.get_experiment_by_name(experiment)
    where = client.create_experiment(experiment) if known is None else known.experiment_id
    digest = hashlib.sha256((folder / BENCHMARK_FILE).read_bytes()).hexdigest()
    earlier = client.search_runs([where], f"tags.`{SHA256_TAG}` = '{digest}'", max_results=1)
    if earlier and earlier[0].info.status == "FINISHED":
        return str(earlier[0].info.run_id), False
    root = client.create_run(where, tags={SHA256_TAG: digest}, run_name=folder.resolve().name)
    parent = root.info.run_id
    for run in runs:
        made = client.create_run(where, tags={"mlflow.parentRunId": parent}, run_name=run.name)
        now_ms = int(time.time() * 1000)
        client.log_batch(
            made.info.run_id,
            metrics=[
                Metric(name, value, now_ms, 0)
                for name, value in run.metrics.items()
                if math.isfinite(value)
            ],
            params=[Param(name, value[:LONGEST_TAG]) for name, value in run.params.items()],
            tags=[RunTag(name, value[:LONGEST_TAG]) for name, value in run.tags.items()],
        )
        client.set_terminated(made.info.run_id, "FINISHED" if run.is_measured else "FAILED")
    for file in artifacts_in(folder):
        client.log_artifact(parent, str(file))
    client.set_terminated(parent)
    return str(parent), True
