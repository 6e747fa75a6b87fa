"""Load-test a server: measure every load point in every repeat."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from medsweep.errors import EnvironmentFault
from medsweep.loadgen.calibrate import calibrate_fleet, like_load, loads_before
from medsweep.loadgen.calibration import Calibration, CalibrationLoad
from medsweep.loadgen.failures import LoadAborted
from medsweep.loadgen.figures import LoadFigures, figures_of
from medsweep.loadgen.fleet import Fleet, LoadProgress, Split
from medsweep.loadgen.load_columns import load_columns
from medsweep.loadgen.objective import Objective
from medsweep.loadgen.spec import LoadJob, LoadPoint
from medsweep.metrics.request_record import RequestRecord

VARIANT = "served"
"""In place of base and adapter, which a load test does not know."""

INTERRUPTED = "interrupted: figures of the part that was measured"
"""Why a load point that the user stopped was not measured to its end."""

OPEN_LOOP_S = 10
"""How long an open loop is measured by default, in seconds."""


@dataclass(frozen=True)
class MeasuredPoint:
    """One load point in one repeat.

    Attributes:
        point: the load.
        repeat: counted from 1.
        figures: what was measured.
        ended_early: why it was not measured to its end; None if it was.
        gave_up: whether that was because too many requests failed.
        met: whether it meets the objectives; None without any, or where that is not known.
        met_reason: why that is not known.
        ended_at: UTC time of its end, as in ISO 8601.
        calibrations: the client's own error at such a load, before and after it.
        split: how several load generators shared the load; None if one sent it.
    """

    point: LoadPoint
    repeat: int
    figures: LoadFigures
    ended_early: str | None = None
    gave_up: bool = False
    met: bool | None = None
    met_reason: str | None = None
    ended_at: str = ""
    calibrations: tuple[Calibration, ...] = ()
    split: Split | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of `benchmark.parquet` that the load fills."""
        return load_columns(
            self.point, self.repeat, VARIANT, self.figures, self.calibrations, self.split
        )

    @property
    def client_limited(self) -> bool | None:
        """Whether the client, and not the server, may have set the figures; None if not known."""
        limited: bool | None = self.columns["client_limited"]
        return limited

    @property
    def like_load(self) -> CalibrationLoad:
        """The calibration that makes the client work as hard as this load did."""
        figures = self.figures
        return like_load(self.point, figures.requests_per_s, figures.output_tokens_per_s)


@dataclass
class Bench:
    """A load test.

    Attributes:
        job: what to send; its point is replaced by the one that is measured.
        fleet: the processes that send it.
        objectives: what each point must meet.
        spool_folder: for the records of the current point; None for the system's folder.
        on_progress: called several times per second with the point, the repeat and the progress.
        on_records: called with each point, its repeat and its records, before they are deleted.
        measured: the load points so far, in the order in which they were measured.
    """

    job: LoadJob
    fleet: Fleet
    objectives: Sequence[Objective] = ()
    spool_folder: Path | None = None
    on_progress: Callable[[LoadPoint, int, LoadProgress], None] = lambda *_: None
    on_records: Callable[[LoadPoint, int, Iterable[RequestRecord]], None] = lambda *_: None
    measured: list[MeasuredPoint] = field(default_factory=list)
    _before: dict[CalibrationLoad, Calibration] = field(default_factory=dict, init=False)

    def measure(
        self, point: LoadPoint, repeat: int = 1, *, hopeless_ends: bool = False
    ) -> MeasuredPoint:
        """Measure one load point.

        Args:
            point: the load.
            repeat: counted from 1; arrivals and order of the prompts differ between repeats.
            hopeless_ends: end it as soon as an objective can no longer be met.

        Raises:
            KeyboardInterrupt: what was measured until then is in `measured`.
        """
        early: str | None = None
        gave_up = False

        def look(progress: LoadProgress) -> bool:
            nonlocal early
            self.on_progress(point, repeat, progress)
            count = point.measured_requests
            if hopeless_ends and count is not None:
                for objective, missed in zip(self.objectives, progress.missed, strict=True):
                    if objective.hopeless(missed, count):
                        early = (
                            f"{objective.name} cannot be met: {missed} of {count} requests missed"
                        )
            return early is None

        seed = self.job.seed * 1000 + repeat
        objectives = tuple(self.objectives)
        job = replace(self.job, point=point, seed=seed, objectives=objectives)
        with Spool(self.spool_folder) as spool:
            try:
                self.fleet.run(job, spool.write, look)
            except LoadAborted as error:
                early, gave_up = str(error), True
            except KeyboardInterrupt:
                early = INTERRUPTED
            figures = figures_of(spool, point, self.objectives, complete=early is None)
            self.on_records(point, repeat, spool)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        met: bool | None = None
        reason: str | None = None
        if early == INTERRUPTED:
            reason = "interrupted" if self.objectives else None
        elif self.objectives and (early or not figures.ok):
            met = False
        elif self.objectives:
            met, reason = self._met(figures)
        measured = MeasuredPoint(
            point, repeat, figures, early, gave_up, met, reason, now, split=self.fleet.split
        )
        if early != INTERRUPTED or figures.sent:
            self.measured.append(self._judged(measured))
        if early == INTERRUPTED:
            raise KeyboardInterrupt
        return self.measured[-1]

    def _met(self, figures: LoadFigures) -> tuple[bool | None, str | None]:
        """Return whether all objectives are met, and why that is not known."""
        verdicts = [
            (each, each.met(figures.latencies[each.latency], missed, figures.sent, unknown))
            for each, missed, unknown in zip(
                self.objectives, figures.missed, figures.untimed, strict=True
            )
        ]
        if any(met is False for _, met in verdicts):
            return False, None
        reasons = [
            f"{each.name}: {unknown} of {figures.ok} answers have no time per token"
            if unknown
            else f"{each.name} needs {each.least_requests} requests"
            for (each, met), unknown in zip(verdicts, figures.untimed, strict=True)
            if met is None
        ]
        if figures.failed:
            # A failed request has no time.
            reasons += [
                f"{each.name}: the mean of all is not known, since requests failed"
                for each in self.objectives
                if each.statistic == "mean"
            ]
        return None if reasons else True, "; ".join(reasons) or None

    def _judged(self, measured: MeasuredPoint) -> MeasuredPoint:
        """Return a point without the verdict that the client may have caused.

        Client error makes latencies longer: an objective that is met all the same is met.
        """
        if measured.met is None or measured.gave_up:
            return measured
        reason = None
        marked = measured.columns["client_error_figures"] or ""
        latencies = {each.latency for each in self.objectives}
        if measured.client_limited:
            reason = "the client limited the load"
        elif not measured.met and latencies & {
            each.partition("_")[0] for each in marked.split(", ")
        }:
            reason = f"more than a tenth is the client's own error: {marked}"
        return replace(measured, met=None, met_reason=reason) if reason else measured

    def calibrate_before(self, points: Iterable[LoadPoint]) -> None:
        """Measure the client's own error at loads that are to be measured."""
        self._before |= self._calibrations(loads_before(points) - self._before.keys())

    def calibrate_after(self) -> None:
        """Add to every point the client's own error at such a load, before it and now."""
        after = self._calibrations(each.like_load for each in self.measured if each.figures.ok)
        for place, each in enumerate(self.measured):
            known = self._before.get(like_load(each.point)), after.get(each.like_load)
            calibrated = replace(each, calibrations=tuple(filter(None, known)))
            self.measured[place] = self._judged(calibrated)

    def _calibrations(self, loads: Iterable[CalibrationLoad]) -> dict[CalibrationLoad, Calibration]:
        distinct = sorted(set(loads))
        calibrations = calibrate_fleet(self.fleet, distinct) if distinct else []
        return dict(zip(distinct, calibrations, strict=True))


def enough_requests(*, concurrency: int | None = None, rate: float | None = None) -> int:
    """Return how many requests are measured at a load by default: at least 64.

    Args:
        concurrency: of a closed loop, which takes 5 per request in flight.
        rate: of an open loop in requests per second, which takes 10 seconds' worth.
    """
    return max(64, math.ceil(5 * (concurrency or 0)), math.ceil(OPEN_LOOP_S * (rate or 0.0)))


def shuffled_repeats(
    points: Sequence[LoadPoint], repeats: int, seed: int
) -> list[tuple[LoadPoint, int]]:
    """Return every point in every repeat, in the order in which they are measured.

    With several repeats the points are shuffled within each, so that a drift of the
    machine does not bias a point.
    """
    rng = random.Random(seed)  # noqa: S311 an order, not a secret
    order = []
    for repeat in range(1, repeats + 1):
        turn = list(points)
        if repeats > 1:
            rng.shuffle(turn)
        order += [(point, repeat) for point in turn]
    return order


class Spool:
    """A temporary file of the records of one load point, so that a long load does not fill memory.

    Args:
        folder: where the file lies; None for the system's folder for such files.

    Raises:
        EnvironmentFault: the folder cannot be written to.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed in __exit__
        except OSError as error:
            raise EnvironmentFault(f"{folder}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: bytes) -> None:
        """Write one line of the load generator's output.

        Raises:
            EnvironmentFault: the disk is full.
        """
        try:
            self._file.write(line)
        except OSError as error:
            raise EnvironmentFault(f"the records cannot be written: {error.strerror}") from None

    def __iter__(self) -> Iterator[RequestRecord]:
        """Yield all records, from the first."""
        self._file.flush()
        self._file.seek(0)
        for line in self._file:
            yield RequestRecord.from_json(json.loads(line)["record"])
