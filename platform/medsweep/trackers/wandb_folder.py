"""Results as offline runs of Weights & Biases, which `wandb sync` uploads later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medsweep.trackers.runs import TrackedRun, artifacts_in


def export_to_wandb(
    runs: Sequence[TrackedRun], folder: Path, project: str, target: Path
) -> list[Path]:
    """Write one offline run per row, and one with the files of the result set.

    Nothing is sent, and nothing is asked of the network.

    Args:
        runs: the rows.
        folder: of the result set.
        project: name of the project.
        target: folder in which `wandb/` is made.

    Returns:
        The folder of each run.

    Raises:
        MissingPackage: wandb is not installed.
    """
    import wandb

    target.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        mode="offline",
        silent=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )
    folders = []
    for run in runs:
        with wandb.init(
            project=project,
            dir=target,
            name=run.name,
            group=folder.resolve().name,
            config={**run.params, **run.tags},
            tags=[run.tags["status"], *([run.tags["basis"]] if "basis" in run.tags else [])],
            settings=settings,
        ) as made:
            made.log(dict(run.metrics))
            folders.append(Path(made.dir).parent)
    with wandb.init(
        project=project,
        dir=target,
        name=folder.resolve().name,
        group=folder.resolve().name,
        job_type="results",
        settings=settings,
    ) as made:
        artifact = wandb.Artifact(folder.resolve().name, type="results")
        for file in artifacts_in(folder):
            artifact.add_file(str(file))
        made.log_artifact(artifact)
        folders.append(Path(made.dir).parent)
    wandb.teardown()  # waits for its process, which may not have written everything before
    return folders
