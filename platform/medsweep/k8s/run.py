"""A whole sweep in a cluster: what is missing is submitted, waited for, brought here, reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medsweep.k8s.client import Api
from medsweep.k8s.fetch import fetch_cells
from medsweep.k8s.settings import ClusterSettings
from medsweep.k8s.start import run_jobs
from medsweep.results.cells import CellFolder
from medsweep.sweep.collect import Summary
from medsweep.sweep.gather import gather
from medsweep.sweep.resolve import Resolved


def run_in_cluster(
    find: Callable[[], Api],
    resolved: Resolved,
    settings: ClusterSettings,
    out: Path,
    *,
    most: int | None = None,
) -> Summary:
    """Run what has no result yet, here or in the object store, and write the results of all.

    Args:
        find: the API server; not asked for where nothing is missing.
        resolved: the sweep.
        settings: of the cluster.
        out: parent of the sweep's folder here.
        most: jobs at once; see `run_jobs`.

    Raises:
        EnvironmentFault: the cluster will not do it, or results cannot be brought.
    """
    spec, plan = resolved.spec, resolved.plan
    folder = (out / spec.name).resolve()
    keys = [cell.key for cell in plan.runnable]
    came = 0
    if settings.results_claim is None:
        came = fetch_cells(find, settings, spec.name, keys, folder)
    missing = [cell for cell in plan.runnable if not CellFolder(folder / "cells" / cell.key).done]
    reasons: dict[str, str] = {}
    if missing:
        wanted = {cell.key for cell in missing} | {cell.adapter for cell in missing}
        done = {*keys, *plan.adapters} - wanted
        states = run_jobs(find(), spec, plan, settings, most=most, done=done)
        reasons = {
            each.task.what: each.job.reason or "" for each in states if each.job.phase == "failed"
        }
        came += fetch_cells(find, settings, spec.name, keys, folder)
    return gather(resolved, out, reasons, came)


def fetch_sweep(
    find: Callable[[], Api], resolved: Resolved, settings: ClusterSettings, out: Path
) -> Summary:
    """Bring the cells that are done, and write the results of all.

    Args:
        find: the API server; asked for with a claim alone.
        resolved: the sweep.
        settings: of the cluster.
        out: parent of the sweep's folder here.

    Raises:
        EnvironmentFault: results cannot be brought.
    """
    keys = [cell.key for cell in resolved.plan.runnable]
    folder = (out / resolved.spec.name).resolve()
    came = fetch_cells(find, settings, resolved.spec.name, keys, folder)
    return gather(resolved, out, {}, came)
