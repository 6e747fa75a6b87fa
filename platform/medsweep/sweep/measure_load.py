"""Measure one cell that answers requests: its first answers, its loads, the server's overhead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medsweep.errors import StageError
from medsweep.loadgen.calibrate import like_load
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.figures import figures_of
from medsweep.loadgen.fleet import Fleet
from medsweep.loadgen.load_columns import add_calibration
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.request_record import RequestRecord
from medsweep.serving.engines.null import null_model
from medsweep.serving.ray.deployments import MAX_ONGOING, throttled_periods
from medsweep.sweep.assemble import grade, measurement_row, request_rows
from medsweep.sweep.cell_columns import Row, requested_fault
from medsweep.sweep.confidence import mean_logprobs
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.deployed import DeployedCell
from medsweep.sweep.measurements import Measurement
from medsweep.telemetry.recording import Recording

NULL_REQUESTS, NULL_TOKENS = 12, 8
FIRST_TOKENS = 4
"""Length of a variant's first answer; every measurement has a warm-up of its own after it."""


def warm_up(context: MeasurementContext, load: Fleet, deployed: DeployedCell) -> None:
    """Get the first answer of each variant; the first of all ends the cold start.

    Cells that were deployed together wait for each other's first answers, which is no part of it.

    Args:
        context: what is measured with.
        load: the load generators.
        deployed: the cell.

    Raises:
        StageError: an external server does not answer.
    """
    deployment = deployed.deployment
    variants = dict.fromkeys(each.variant for each in context.measurements(deployed.cell))
    for variant in (each for each in variants if each in deployed.models):
        point = LoadPoint(concurrency=1, requests=1, warmup=0)
        job = deployed.job(context, deployed.models[variant], point)
        records = load.records(replace(job, max_tokens=min(FIRST_TOKENS, job.max_tokens)))
        if not records:
            continue
        deployed.require_answer(records[0])
        if deployment.cold_start_s is None and deployed.started_after_s is not None:
            deployment.cold_start_s = deployed.started_after_s + records[0].e2e_s


def measure_load(
    context: MeasurementContext,
    load: Fleet,
    deployed: DeployedCell,
    measurement: Measurement,
    calibrations: Mapping[CalibrationLoad, Calibration],
) -> None:
    """Measure one load point and repeat of a cell, grade its answers, and save the row.

    Args:
        context: what is measured with.
        load: the load generators.
        deployed: the cell.
        measurement: the load point, its repeat and the variant.
        calibrations: of the load generators, by load.

    Raises:
        StageError: the load could not be sent, the engine died, or the row is not what was
            requested.
    """
    spec, known = context.spec, context.columns(deployed.cell)
    labels = {
        "sweep": spec.name,
        "model": known["model"],
        "profile": known["profile"],
        "load_point": measurement.point.name,
        "variant": measurement.variant,
        "basis": deployed.deployment.observed["basis"],
    }
    model = deployed.models[measurement.variant]
    job = deployed.job(context, model, measurement.point, measurement.repeat)
    records, recording = _watched_load(context, load, deployed, job, labels)
    split = load.split  # before another load
    logprobs, confidence_by = mean_logprobs(context, deployed, model, records)
    grades = grade(
        measurement,
        records,
        context.pairs,
        seed=spec.seed,
        keep_text=spec.texts_kept,
        cut=deployed.cut,
        leaked=context.leaked,
        grader=context.resolved.grader,
        logprobs=logprobs,
    )
    row = measurement_row(
        measurement,
        figures=figures_of(records, measurement.point, spec.load.parsed_objectives),
        recording=recording,
        grades=grades,
        split=split,
    )
    if (calibration := calibrations.get(like_load(measurement.point))) is not None:
        add_calibration(row, calibration)
    if grades.rows:
        row["confidence_by"] = confidence_by
    row |= {"batch": deployed.batch, **_overhead(context, load, deployed, row)}
    if not deployed.is_ours:
        row["served_model"] = model
    _count_throttled(deployed)
    row = deployed.deployment.columns | row
    fault = requested_fault({**known, **row}, emulation=True)
    if fault is not None:
        raise StageError(fault)
    context.metrics.figures(labels, row)
    deployed.folder.save_measurement(
        measurement.name, row, request_rows(measurement, records), grades.rows
    )


def _watched_load(
    context: MeasurementContext,
    load: Fleet,
    deployed: DeployedCell,
    job: LoadJob,
    labels: Mapping[str, str],
) -> tuple[list[RequestRecord], Recording | None]:
    """Send a load while the cell's sensors are read.

    Raises:
        StageError: the load could not be sent, or the engine died meanwhile.
    """
    show = context.progress.load(job.point.measured_requests)

    def take(record: RequestRecord) -> None:
        context.metrics.request(labels, record)
        show(record)

    with deployed.watch() as node:
        records = load.records(job, take)
    if not node.lasted:
        # Ray Serve replaces an engine that dies, and requests wait for the new one.
        raise StageError("the engine died during the load and was started anew")
    return records, node.recording


def _count_throttled(deployed: DeployedCell) -> None:
    """Note the CPU periods that a quota has cut short since the deployment; unknown of a server."""
    periods = throttled_periods(deployed.cell.key) if deployed.is_ours else None
    if periods is not None and deployed.throttled_before is not None:
        deployed.deployment.cpu_throttled_periods = periods - deployed.throttled_before


def _overhead(
    context: MeasurementContext, load: Fleet, deployed: DeployedCell, row: Mapping[str, Any]
) -> Row:
    """Return the columns of the server's overhead, by a null model at a row's concurrency.

    Its tokens come at the pace of the engine's, so that the server has as many to pass on. Its
    answers are short, so that it has more requests to begin than with most engines.

    An open loop keeps as many requests in flight as arrive while one is answered (Little's law),
    rounded up to a power of two so that few measurements serve all repeats.
    """
    if not deployed.is_ours:
        return {}
    concurrency: int | None = row["concurrency"]
    if concurrency is None:
        in_flight = (row["requests_per_s"] or 0.0) * (row["e2e_mean_s"] or 0.0)
        concurrency = 2 ** math.ceil(math.log2(max(1.0, in_flight)))
    concurrency = min(concurrency, MAX_ONGOING)
    pace_s = row["tpot_mean_s"] or 0.0
    if concurrency not in deployed.overheads:
        requests = max(NULL_REQUESTS, 2 * concurrency)
        point = LoadPoint(concurrency=concurrency, requests=requests)
        try:
            job = deployed.job(context, null_model(pace_s), point)
            job = replace(job, max_tokens=min(NULL_TOKENS, job.max_tokens))
            null = figures_of(load.records(job), point)
        except LoadAborted as error:
            context.progress.note(
                f"{deployed.cell.name}: the server's overhead is unknown: {error}"
            )
            return {}
        tpot_s = null.latencies["tpot"].mean
        deployed.overheads[concurrency] = {
            "overhead_ttft_s": null.latencies["ttft"].mean,
            "overhead_tpot_s": None if tpot_s is None else max(0.0, tpot_s - pace_s),
            "overhead_concurrency": concurrency,
        }
    return deployed.overheads[concurrency]
