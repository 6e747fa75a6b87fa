"""`medsweep export`: copy results to MLflow, or to a folder of Weights & Biases."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from medsweep.cli.options import add_json
from medsweep.errors import EXIT_DONE, InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="RESULTS",
        help="folder of a sweep, such as results/demo, or of `medsweep bench --out`",
    )
    parser.add_argument(
        "--mlflow",
        metavar="DIR|URL",
        help="a file store, or a tracking server; needs 'medsweep[mlflow]'",
    )
    parser.add_argument(
        "--wandb",
        type=Path,
        metavar="DIR",
        help="write offline runs below this folder; `wandb sync` uploads them; needs "
        "'medsweep[wandb]'",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write one run per row of benchmark.parquet; print where they are."""
    if options.mlflow is None and options.wandb is None:
        raise InputError("nothing to export to: give --mlflow DIR|URL, --wandb DIR, or both")
    from medsweep.results.reader import Results
    from medsweep.trackers.runs import tracked_runs

    if not options.folder.is_dir():
        raise InputError(f"{options.folder}: no such folder; give that of the results")
    results = Results.open(options.folder)
    runs, name = tracked_runs(results.rows), results.sweep
    outcome: dict[str, object] = {"rows": len(runs)}
    lines = []
    if options.mlflow is not None:
        from medsweep.trackers.mlflow_store import export_to_mlflow

        run_id, is_new = export_to_mlflow(runs, options.folder, name, options.mlflow)
        outcome["mlflow"] = {"run_id": run_id, "experiment": name, "written": is_new}
        lines.append(
            f"MLflow: {len(runs)} rows below run {run_id} of experiment {name}, {options.mlflow}"
            if is_new
            else f"MLflow: run {run_id} of experiment {name} holds these results already"
        )
    if options.wandb is not None:
        from medsweep.trackers.wandb_folder import export_to_wandb

        folders = export_to_wandb(runs, options.folder, name, options.wandb)
        outcome["wandb"] = [str(folder) for folder in folders]
        lines.append(
            f"Weights & Biases: {len(runs)} rows in {options.wandb}; to upload: "
            f"wandb sync {options.wandb}/wandb/offline-run-*"
        )
    print(json.dumps(outcome, indent=2) if options.json else "\n".join(lines))
    return EXIT_DONE
