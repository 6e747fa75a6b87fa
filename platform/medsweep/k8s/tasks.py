"""What a plan comes to in a cluster: one fine-tune job a model, then one benchmark job a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from medsweep.errors import InputError
from medsweep.hardware.observe import HOST
from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.client import Object
from medsweep.k8s.conventions import Stage, object_name
from medsweep.k8s.render import benchmark_job, finetune_job
from medsweep.k8s.settings import ClusterSettings
from medsweep.sweep.plan import Plan
from medsweep.sweep.spec import SweepSpec


@dataclass(frozen=True)
class Task:
    """One job that is to be done.

    Attributes:
        name: of its RayJob.
        stage: finetune or benchmark.
        what: for a person: `model` or `model@profile`.
        key: of the adapter or the cell.
        profile: where it runs.
        needs: name of the task that must be done before; None for none.
        manifest: renders its RayJob; called when it is submitted, not before.
    """

    name: str
    stage: Stage
    what: str
    key: str
    profile: HardwareProfile
    needs: str | None
    manifest: Callable[[], Object]


def tasks_of(spec: SweepSpec, plan: Plan, settings: ClusterSettings) -> list[Task]:
    """Return the tasks of a plan, each after what it needs.

    Raises:
        InputError: cells of it run on no pool.
    """
    here = [cell.name for cell in plan.runnable if cell.profile.name == HOST]
    if here:
        raise InputError(
            f"{', '.join(here)}: `{HOST}` is the machine that MedSweep runs on, not a pool of a "
            "cluster; leave it out of `cells`, or run it with `medsweep run`"
        )
    tasks: list[Task] = []
    made: dict[str, str] = {}
    for adapter in plan.adapters.values():
        name = object_name(
            "finetune", spec.name, adapter.model.name, adapter.profile.name, adapter.key
        )
        made[adapter.key] = name
        tasks.append(
            Task(
                name,
                "finetune",
                adapter.model.name,
                adapter.key,
                adapter.profile,
                None,
                partial(finetune_job, spec, adapter, settings),
            )
        )
    return tasks + [
        Task(
            object_name("benchmark", spec.name, cell.model.name, cell.profile.name, cell.key),
            "benchmark",
            cell.name,
            cell.key,
            cell.profile,
            made[cell.adapter],
            partial(benchmark_job, spec, cell, settings),
        )
        for cell in plan.runnable
    ]
