"""`medsweep finetune`: run only the fine-tune stage of a sweep."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsweep.cli.options import add_json, add_out, add_sweep, load_sweep
from medsweep.errors import EXIT_DONE, InputError, MedSweepError, UnknownName, require

if TYPE_CHECKING:
    from medsweep.sweep.cell import AdapterPlan
    from medsweep.sweep.progress import SweepProgress
    from medsweep.sweep.resolve import Resolved


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_sweep(parser)
    parser.add_argument("--model", metavar="NAME", help="only this model of the sweep")
    parser.add_argument(
        "--no-ray", action="store_true", help="in this process, with all resources of the machine"
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="fail if an earlier run exists, instead of resuming it or using its adapter",
    )
    add_out(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the adapters that do not exist yet; print their folders and figures."""
    if options.no_ray:
        from medsweep.cluster.cpu_pinning import wait_asleep

        wait_asleep()  # before anything imports torch; Ray's workers get it from the cluster
    spec = load_sweep(options)
    require("torch", *([] if options.no_ray else ["ray"]))
    from medsweep.results.store import exclusive, private
    from medsweep.sweep.finetune import adapter_folder, require_fresh
    from medsweep.sweep.resolve import resolve

    resolved = resolve(spec)
    selected = _selected(resolved, options.model)
    # Absolute, because Ray's workers run in folders of their own.
    folder = (options.out / spec.name).resolve()
    with private(folder, applies=not spec.dataset.is_public), exclusive(folder):
        if options.fresh:
            require_fresh(resolved, folder, selected)
        absent = [each for each in selected if not adapter_folder(folder, each).is_dir()]
        stage = _here if options.no_ray else _on_ray
        failures = stage(resolved, folder, absent) if absent else {}
    rows = [_row(each, adapter_folder(folder, each), failures) for each in selected]
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['model']}: " + (row["failed"] or f"{row['figures']}\n  {row['folder']}"))
    return MedSweepError.exit_code if failures else EXIT_DONE


def _selected(resolved: Resolved, model: str | None) -> list[AdapterPlan]:
    """Return the adapters to make.

    Raises:
        InputError: no model of the sweep can run, or the chosen one cannot.
    """
    adapters = list(resolved.plan.adapters.values())
    names = {each.model.name: each for each in adapters}
    refused = {cell.model.name: cell.refused for cell in resolved.plan.cells if cell.refused}
    if model is not None and model not in names:
        if model in refused:
            raise InputError(f"{model}: {refused[model]}")
        raise UnknownName("model of this sweep", model, names)
    if not adapters:
        raise InputError(f"no model of this sweep can run: {'; '.join(refused.values())}")
    return [names[model]] if model is not None else adapters


def _here(
    resolved: Resolved, folder: Path, absent: Sequence[AdapterPlan]
) -> dict[str, MedSweepError]:
    """Fine-tune in this process; return the error of each adapter that failed, by key."""
    from medsweep.finetune.session import finetune
    from medsweep.finetune.train_metrics import basis_of
    from medsweep.hardware.observe import observe_host
    from medsweep.sweep.finetune import epoch_notes, finetune_job

    failures: dict[str, MedSweepError] = {}
    progress = _progress(resolved, absent)
    for adapter in absent:
        name = f"{adapter.model.name}@{adapter.profile.name}"
        job = finetune_job(resolved, folder, adapter)
        basis = basis_of(adapter.profile, observe_host())
        job = replace(job, provenance={**job.provenance, "basis": basis})
        try:
            with progress.step("fine-tune", name, announce=True):
                finetune(job, partial(epoch_notes(progress), job), progress.training)
        except MedSweepError as error:
            progress.skip("fine-tune", 1)
            failures[adapter.key] = error
    return failures


def _progress(resolved: Resolved, absent: Sequence[AdapterPlan]) -> SweepProgress:
    from medsweep.sweep.predict import predicted_steps_s
    from medsweep.sweep.progress import SweepProgress

    progress = SweepProgress()
    steps = {"fine-tune": len(absent)}
    progress.expect(steps, predicted_steps_s(resolved, absent, []))
    return progress


def _on_ray(resolved: Resolved, folder: Path, absent: Sequence[AdapterPlan]) -> dict[str, str]:
    from medsweep.cluster.local import LocalCluster
    from medsweep.sweep.finetune import finetune_missing

    progress = _progress(resolved, absent)
    with LocalCluster() as cluster:
        return finetune_missing(resolved, folder, absent, cluster=cluster, progress=progress)


def _row(adapter: AdapterPlan, folder: Path, failures: Mapping[str, object]) -> dict[str, Any]:
    """Return the row of one adapter: its folder, and its figures or the reason of its failure."""
    from medsweep.finetune.epochs import epoch_line
    from medsweep.results.store import read_rows

    row: dict[str, Any] = {"model": adapter.model.name, "folder": str(folder)}
    if adapter.key in failures:
        return {**row, "failed": str(failures[adapter.key]), "figures": None}
    rows = read_rows(folder / "training.parquet")
    return {**row, "failed": None, "figures": epoch_line(rows[-1])}
