"""Measure a wave of cells: deploy them together, visit them in turn, grade what they answered."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsweep.cluster.protocol import Cluster
from medsweep.datasets.spec import Pair
from medsweep.errors import EnvironmentFault, StageError
from medsweep.finetune.adapter import Adapter
from medsweep.hardware.mismatch import requested_fault
from medsweep.hardware.observe import observe_host
from medsweep.loadgen.calibrate import Calibration
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.process import LoadProcess
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.cells import CellFolder
from medsweep.serving.engines.null import NULL_MODEL
from medsweep.serving.ray.deployments import (
    CellDeployment,
    deploy,
    start_ingress,
    throttled_periods,
    undeploy,
)
from medsweep.serving.ray.node_telemetry import NodeTelemetry
from medsweep.sweep.assemble import (
    Visit,
    add_repeat_intervals,
    request_rows,
    response_rows,
    visit_row,
)
from medsweep.sweep.cell_columns import (
    basis_columns,
    cell_columns,
    finished_row,
    observed_columns,
)
from medsweep.sweep.plan import Cell
from medsweep.sweep.predict import Lengths, roofline_columns
from medsweep.sweep.progress import Progress
from medsweep.sweep.questions import questions_of
from medsweep.sweep.spec import SweepSpec
from medsweep.telemetry.bound import add_bounds
from medsweep.telemetry.window import telemetry_columns

NULL_REQUESTS = 12
FIRST_TOKENS = 4
"""Length of a variant's first answer; each visit warms up with a wave of its own."""


@dataclass
class Ground:
    """What every cell of a run is measured with.

    Attributes:
        spec: the sweep.
        folder: of the sweep's results.
        pairs: the evaluation side, by question_id.
        lengths: of the dataset's texts.
        dataset_sha256: identity of the dataset.
        revisions: identity of the weights, by model.
        calibrations: the client's own error, by concurrency.
        metrics: live metrics.
        progress: steps done and to come.
    """

    spec: SweepSpec
    folder: Path
    pairs: Mapping[str, Pair]
    lengths: Lengths
    dataset_sha256: str
    revisions: Mapping[str, str]
    calibrations: Mapping[int, Calibration]
    metrics: LiveMetrics
    progress: Progress

    def cell_folder(self, cell: Cell) -> CellFolder:
        """Return the folder of a cell."""
        return CellFolder(self.folder / "cells" / cell.key)

    def columns(self, cell: Cell) -> dict[str, Any]:
        """Return the columns of a cell that are known before it runs."""
        return cell_columns(self.spec, cell, self.dataset_sha256, self.revisions)

    def visits(self) -> list[Visit]:
        """Return every visit that a cell needs."""
        load = self.spec.load
        points = [spec.point() for spec in load.points]
        visits = [
            Visit(point, repeat, "adapter")
            for repeat in range(1, load.repeats + 1)
            for point in points
        ]
        if load.compare_base:
            # As many requests as there are questions, so that each is paired.
            everything = LoadPoint(
                points[-1].concurrency, points[-1].rate, points[-1].arrivals, len(self.pairs)
            )
            visits += [Visit(everything, 1, "base")]
        return visits


@dataclass
class _Running:
    """One cell of the wave that is up."""

    cell: Cell
    adapter: Adapter
    base_url: str
    columns: dict[str, Any]
    throttled_before: int | None
    folder: CellFolder
    problem: str | None = None

    def model_of(self, visit: Visit) -> str:
        """Return the name that the server knows the visit's variant by."""
        return self.cell.model.name if visit.variant == "base" else self.adapter.folder.name


def measure_wave(
    ground: Ground, cluster: Cluster, cells: Sequence[Cell], adapters: Mapping[str, Adapter]
) -> None:
    """Measure cells that are deployed together; each ends with a `cell.json`.

    Args:
        ground: what to measure with.
        cluster: where the cells run.
        cells: the wave.
        adapters: by key.
    """
    url = start_ingress(cluster.port)
    cluster.ensure_nodes([cell.profile for cell in cells])
    deployments = [_deployment(ground, cell, adapters[cell.adapter]) for cell in cells]
    names = ", ".join(cell.name for cell in cells)
    asked_at = time.monotonic()
    with ground.progress.step("deploy", names, len(cells), announce=True):
        started = deploy(deployments)
    running = []
    for cell, deployed in zip(cells, deployments, strict=True):
        observed = started[deployed.name]
        if isinstance(observed, StageError):
            give_up(ground, cell, str(observed))
            continue
        columns = observed_columns(cell, observed)
        fault = requested_fault({**ground.columns(cell), **columns}, emulation=cluster.emulates)
        if fault is not None:
            give_up(ground, cell, fault, columns)
            continue
        running.append(
            _Running(
                cell,
                adapters[cell.adapter],
                f"{url}/{deployed.name}/v1",
                columns,
                observed["cpu_throttled_periods"],
                ground.cell_folder(cell),
            )
        )
    try:
        _visit_all(ground, running, asked_at)
    finally:
        undeploy([deployed.name for deployed in deployments])


def give_up(
    ground: Ground, cell: Cell, reason: str, observed: Mapping[str, Any] | None = None
) -> None:
    """Record that a cell failed; what was measured of it stays for the next run.

    Args:
        ground: what it was to be measured with.
        cell: the cell.
        reason: why.
        observed: columns of the node that it was on; None where it came to none.
    """
    ground.progress.note(f"failed: {cell.name}: {reason}")
    folder = ground.cell_folder(cell)
    left = [visit for visit in ground.visits() if not folder.has_visit(visit.name)]
    ground.progress.skip("load", len(left))
    basis = observed or basis_columns(cell.profile, observe_host())
    row = {**ground.columns(cell), **basis, "status": "failed", "reason": reason}
    try:
        folder.finish("failed", reason, [row])
    except EnvironmentFault as fault:
        ground.progress.note(str(fault))


def _deployment(ground: Ground, cell: Cell, adapter: Adapter) -> CellDeployment:
    settings = ground.spec.serve.settings(
        cell.model,
        dtype=cell.dtype,
        cpus=cell.profile.cpus,
        adapters={adapter.folder.name: adapter},
    )
    return CellDeployment(cell.key, cell.profile, settings)


def _visit_all(ground: Ground, running: Sequence[_Running], asked_at: float) -> None:
    """Make the visits of all cells: repeats in turn, cells and load points shuffled within each."""
    with LoadProcess() as load:
        for up in running:
            with _recorded(up):
                _warm_up(ground, load, up, asked_at)
        order = [(up, visit) for up in running for visit in ground.visits()]
        random.Random(ground.spec.seed).shuffle(order)  # noqa: S311 an order, not a secret
        for up, visit in sorted(order, key=lambda pair: pair[1].repeat):
            if up.problem is None and not up.folder.has_visit(visit.name):
                with _recorded(up), ground.progress.step("load", f"{up.cell.name} {visit.name}"):
                    _visit(ground, load, up, visit)
    for up in running:
        if up.problem is None:
            _finish(ground, up)
        else:
            give_up(ground, up.cell, up.problem, up.columns)


@contextmanager
def _recorded(up: _Running) -> Iterator[None]:
    """Keep what goes wrong with one cell from the others."""
    try:
        yield
    except (StageError, EnvironmentFault) as error:
        up.problem = str(error)


def _warm_up(ground: Ground, load: LoadProcess, up: _Running, asked_at: float) -> None:
    """Get the first answer of each variant, and measure what the server takes without a model."""
    for model in dict.fromkeys(up.model_of(visit) for visit in ground.visits()):
        job = _job(ground, up, model, LoadPoint(1, requests=1, warmup=0))
        load.run(replace(job, max_tokens=min(FIRST_TOKENS, job.max_tokens)))
        up.columns.setdefault("cold_start_s", time.monotonic() - asked_at)
    point = LoadPoint(1, requests=NULL_REQUESTS)
    null = figures_of(load.run(_job(ground, up, NULL_MODEL, point)), point)
    up.columns["overhead_ttft_s"] = null.latencies["ttft"].mean
    up.columns["overhead_tpot_s"] = null.latencies["tpot"].mean


def _visit(ground: Ground, load: LoadProcess, up: _Running, visit: Visit) -> None:
    spec = ground.spec
    labels = {
        "sweep": spec.name,
        "model": up.cell.model.name,
        "profile": up.cell.profile.name,
        "load_point": visit.point.name,
        "variant": visit.variant,
        "basis": up.columns["basis"],
    }
    job = _job(ground, up, up.model_of(visit), visit.point, visit.repeat)
    with NodeTelemetry(up.cell.key) as machine:
        records = load.run(job, lambda record: ground.metrics.request(labels, record))
    if not machine.lasted:
        # Ray Serve puts another engine in the place of one that dies, and requests wait for it.
        raise StageError("the engine did not last through the load: it died and was started anew")
    figures = figures_of(records, visit.point, spec.load.goodput_objectives)
    row = visit_row(
        visit,
        records,
        ground.pairs,
        figures=figures,
        calibration=ground.calibrations.get(concurrency_of(visit.point)),
        seed=spec.seed,
    )
    if figures.window is not None:
        window = figures.window
        row |= telemetry_columns(machine.recording, window.start_s, window.stop_s)
    fault = requested_fault({**ground.columns(up.cell), **up.columns, **row}, emulation=True)
    if fault is not None:
        raise StageError(fault)
    ground.metrics.figures(labels, row)
    up.folder.save_visit(
        visit.name,
        row,
        request_rows(visit, records),
        response_rows(visit, records, ground.pairs, keep_text=spec.texts_kept),
    )


def _job(ground: Ground, up: _Running, model: str, point: LoadPoint, repeat: int = 1) -> LoadJob:
    load, seed = ground.spec.load, ground.spec.seed
    asked = questions_of(tuple(ground.pairs.values()), point.requests, repeat, seed)
    return LoadJob(
        base_url=up.base_url,
        model=model,
        prompts=tuple(Prompt(pair.question_id, pair.question) for pair in asked),
        point=point,
        seed=seed * 1000 + repeat,
        max_tokens=load.max_tokens,
        timeout_s=load.timeout_s,
        max_error_rate=load.max_error_rate,
    )


def concurrency_of(point: LoadPoint) -> int:
    """Return the concurrency that a load point is calibrated at.

    An open loop has none; the calibration server takes 0.36 s a request, so its rate needs that
    many at a time (Little's law).
    """
    return point.concurrency or math.ceil((point.rate or 1) * 0.36)


def _finish(ground: Ground, up: _Running) -> None:
    rows = up.folder.visit_rows()
    add_repeat_intervals(rows)
    throttled = throttled_periods(up.cell.key)
    if throttled is not None and up.throttled_before is not None:
        up.columns["cpu_throttled_periods"] = throttled - up.throttled_before
    predicted = {}
    if up.columns["basis"] == "observed":
        predicted = roofline_columns(ground.spec, up.cell, ground.lengths)
    whole = [
        finished_row(
            {
                **ground.columns(up.cell),
                **up.columns,
                **predicted.get(row["load_point"], {}),
                **row,
            },
            up.adapter,
        )
        for row in rows
    ]
    add_bounds(whole)
    with _recorded(up):
        up.folder.finish("ok", None, whole)
    if up.problem is not None:
        give_up(ground, up.cell, up.problem, up.columns)
