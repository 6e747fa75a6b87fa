"""Measure a batch of cells: deploy them together, load them in turn, finish their records."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from medsweep.cluster.protocol import Cluster
from medsweep.errors import EnvironmentFault, MedSweepError, StageError
from medsweep.loadgen.calibrate import loads_before
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.shard import LABELS, Shard
from medsweep.models.loading import answer_cut
from medsweep.names import first_names
from medsweep.serving.ray.deployments import deploy, start_ingress, undeploy
from medsweep.sweep.assemble import Deployment
from medsweep.sweep.calibration import calibrate_after, calibrations
from medsweep.sweep.cell import AnyCell, Cell, ServerCell
from medsweep.sweep.cell_columns import observed_columns, requested_fault
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.deployed import DeployedCell, connect
from medsweep.sweep.finish import finish_cells
from medsweep.sweep.measure_load import measure_load, warm_up
from medsweep.sweep.prepare import PreparedCell, deployment_of, prepare_cells


def measure_batch(
    context: MeasurementContext,
    cluster: Cluster,
    cells: Sequence[AnyCell],
    failures: Mapping[str, str],
    deployment: int,
) -> None:
    """Deploy cells together and measure the repeats of one deployment.

    A cell that has all its measurements then ends with a `cell.json`.

    Args:
        context: what to measure with.
        cluster: where the cells run.
        cells: the batch; those that were given up are left out.
        failures: why there is no adapter, by its key.
        deployment: number of the planned deployment, from 1.
    """
    open_cells = [cell for cell in cells if cell.key not in context.given_up]
    due = [cell for cell in open_cells if deployment in context.deployments_due(cell)]
    if due:
        _deploy_and_measure(context, cluster, due, failures, deployment)
    for cell in open_cells:
        if cell.key in context.given_up:
            later = [each for each in context.deployments_due(cell) if each > deployment]
            context.progress.skip("deploy", len(later))
    # A run that was killed may have left a cell whose measurements are complete.
    ended = due if deployment > 1 else open_cells
    finish_cells(
        context,
        [c for c in ended if c.key not in context.given_up and not context.missing(c)],
    )


def _deploy_and_measure(
    context: MeasurementContext,
    cluster: Cluster,
    cells: Sequence[AnyCell],
    failures: Mapping[str, str],
    deployment: int,
) -> None:
    try:
        if (shards := context.spec.load.shards) > 1:
            cluster.ensure_cpus(LABELS, shards)
    except EnvironmentFault as fault:
        for cell in cells:
            context.give_up(cell, str(fault))
        return
    servers = [cell for cell in cells if isinstance(cell, ServerCell)]
    ours = [cell for cell in cells if isinstance(cell, Cell)]
    with context.progress.phase("start nodes, fetch weights"):
        ready = prepare_cells(context, cluster, ours, failures)
    context.progress.skip("deploy", len(cells) - len(ready))
    variants = {each.cell.key: context.variants_due(each.cell, deployment) for each in ready}
    together = [each for each in ready if variants[each.cell.key] & {*each.variants}]
    _measure_deployed(context, cluster, together, deployment, servers=servers)
    # A merged model does not hold its base, which is asked in a deployment of its own.
    alone = [each for each in ready if variants[each.cell.key] - {*each.variants}]
    open_cells = [each for each in alone if each.cell.key not in context.given_up]
    context.progress.skip("deploy", len(alone) - len(open_cells))
    _measure_deployed(context, cluster, open_cells, deployment, base_alone=True)


def _measure_deployed(
    context: MeasurementContext,
    cluster: Cluster,
    ready: Sequence[PreparedCell],
    deployment: int,
    *,
    servers: Sequence[ServerCell] = (),
    base_alone: bool = False,
) -> None:
    """Deploy cells together, measure what they and servers can answer, and stop them."""
    batch = datetime.now(UTC).isoformat()
    deployed = _connect(context, servers, batch)
    if ready:
        deployed += _deploy(context, cluster, ready, batch, base_alone=base_alone)
    keys = [each.cell.key for each in ready]
    try:
        if deployed:
            _measure_all(context, deployed, deployment)
    except BaseException:
        with suppress(StageError):  # the measurement's own error says why the run ends
            if keys:
                undeploy(keys)
        raise
    if keys:
        undeploy(keys)


def _connect(
    context: MeasurementContext, cells: Sequence[ServerCell], batch: str
) -> list[DeployedCell]:
    """Return the servers that can be reached; give up the others."""
    connected = []
    for cell in cells:
        try:
            connected.append(connect(context, cell, batch))
        except MedSweepError as error:
            context.give_up(cell, str(error))
    return connected


def _deploy(
    context: MeasurementContext,
    cluster: Cluster,
    ready: Sequence[PreparedCell],
    batch: str,
    *,
    base_alone: bool,
) -> list[DeployedCell]:
    """Deploy cells together; return those whose engine runs on the right hardware."""
    with context.progress.phase("start Ray Serve"):
        url = start_ingress(cluster.port, loopback=context.spec.load.shards == 1)
    names = first_names([each.cell.name for each in ready])
    with context.progress.step("deploy", names, len(ready), announce=True):
        started = deploy([deployment_of(context, each, base_alone=base_alone) for each in ready])
    deployed = []
    for each in ready:
        cell, observed = each.cell, started[each.cell.key]
        if isinstance(observed, StageError):
            context.give_up(cell, str(observed))
            continue
        columns = observed_columns(cell.profile, observed) | each.columns
        fault = requested_fault({**context.columns(cell), **columns}, emulation=cluster.emulates)
        if fault is not None:
            context.give_up(cell, fault, columns)
            continue
        folder = context.cell_folder(cell)
        # A run that continues another's repeats deploys the cell once more.
        earlier = [row.get("deployment") or 0 for row in folder.measurement_rows()]
        models = {"adapter": each.adapter.folder.name, "base": cell.model.name}
        served = ("base",) if base_alone else each.variants
        deployed.append(
            DeployedCell(
                cell=cell,
                base_url=f"{url}/{cell.key}/v1",
                models={variant: models[variant] for variant in served},
                deployment=Deployment(
                    columns, 1 + max(earlier, default=0), cold_start_engines=len(ready)
                ),
                batch=batch,
                folder=folder,
                cut=answer_cut(each.adapter.folder, context.spec.load.max_tokens),
                throttled_before=observed["cpu_throttled_periods"],
                started_after_s=observed["started_after_s"],
                template=each.adapter.template,
            )
        )
    return deployed


def _measure_all(
    context: MeasurementContext, deployed: Sequence[DeployedCell], deployment: int
) -> None:
    """Measure all cells: repeats in turn, cells and load points shuffled within each repeat."""
    shards = context.spec.load.shards
    with Fleet(shards, Shard) if shards > 1 else Fleet(1) as load:
        for each in deployed:
            with _failure_recorded(each):
                warm_up(context, load, each)
        order = [
            (each, measurement)
            for each in deployed
            if each.failure is None
            for measurement in context.missing(each.cell)
            if measurement.deployment == deployment and measurement.variant in each.models
        ]
        random.Random(context.spec.seed).shuffle(order)  # noqa: S311 an order, not a secret
        with context.progress.phase("calibrate the client"):
            before = calibrations(context, load, loads_before(each.point for _, each in order))
        for each, measurement in sorted(order, key=lambda pair: pair[1].repeat):
            if each.failure is None:
                step = f"{each.cell.name}: {measurement.words}"
                with _failure_recorded(each), context.progress.step("load", step):
                    measure_load(context, load, each, measurement, before)
                for call in context.on_measured:
                    call()
        with context.progress.phase("calibrate the client"):
            measured = [(each.folder, measurement) for each, measurement in order]
            calibrate_after(context, load, measured)
    for each in deployed:
        if each.failure is not None:
            context.give_up(each.cell, each.failure, each.deployment.columns)


@contextmanager
def _failure_recorded(deployed: DeployedCell) -> Iterator[None]:
    """Keep the failure of one cell from the others."""
    try:
        yield
    except MedSweepError as error:
        deployed.failure = str(error)
