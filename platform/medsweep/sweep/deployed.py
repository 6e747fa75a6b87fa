"""A cell that answers requests: its engine runs, or its external server is reachable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medsweep.errors import StageError
from medsweep.loadgen.client import identity_headers
from medsweep.loadgen.failures import advice_for
from medsweep.loadgen.foreign import ForeignServer, ServerWatch
from medsweep.loadgen.spec import LoadJob, LoadPoint, Prompt
from medsweep.metrics.bounds import Cut
from medsweep.metrics.request_record import RequestRecord
from medsweep.results.cells import CellFolder
from medsweep.serving.ray.node_telemetry import NodeTelemetry
from medsweep.sweep.assemble import Deployment
from medsweep.sweep.cell import AnyCell, ServerCell
from medsweep.sweep.cell_columns import Row
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.measurements import questions_of


@dataclass
class DeployedCell:
    """A cell that answers requests.

    Attributes:
        cell: the cell.
        base_url: of its API.
        models: the name by which the server knows each variant.
        deployment: what was observed of it.
        batch: UTC time at which its batch of cells was deployed, as in ISO 8601.
        folder: of its results.
        cut: cuts a reference at the longest allowed answer; None if that is not known.
        api_key_env: environment variable that holds the API key; None sends none.
        headers: further headers of every request.
        throttled_before: CPU periods cut short by a quota before the load.
        started_after_s: from requesting it until it ran, in seconds; None if it ran before.
        failure: why it is given up; None as long as it is measured.
        overheads: columns of the server's overhead, by concurrency.
        template: name of the prompt template that it serves with; None if that is not known.
        logprobs: mean log-probability by model, question_id and answer, as far as it was computed.
    """

    cell: AnyCell
    base_url: str
    models: Mapping[str, str]
    deployment: Deployment
    batch: str
    folder: CellFolder
    cut: Cut | None = None
    api_key_env: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    throttled_before: int | None = None
    started_after_s: float | None = None
    failure: str | None = None
    overheads: dict[int, Row] = field(default_factory=dict)
    template: str | None = None
    logprobs: dict[tuple[str, str, str], float] = field(default_factory=dict, repr=False)

    @property
    def is_ours(self) -> bool:
        """Whether MedSweep deployed it, so that it has a null model and sensors on its node."""
        return not isinstance(self.cell, ServerCell)

    def watch(self) -> NodeTelemetry | ServerWatch:
        """Return a context manager that records the cell's sensors meanwhile."""
        if self.is_ours:
            return NodeTelemetry(self.cell.key)
        return ServerWatch(foreign(self.base_url, self.api_key_env, self.headers))

    def job(
        self, context: MeasurementContext, model: str, point: LoadPoint, repeat: int = 1
    ) -> LoadJob:
        """Return the load generator's job for one load point.

        Args:
            context: what is measured with.
            model: the server's name of what is asked.
            point: the load.
            repeat: counted from 1.
        """
        load, seed = context.spec.load, context.spec.seed
        requests = point.measured_requests or len(context.pairs)
        pairs = questions_of(tuple(context.pairs.values()), requests, repeat, seed)
        return LoadJob(
            base_url=self.base_url,
            model=model,
            prompts=tuple(Prompt(pair.question_id, pair.question) for pair in pairs),
            point=point,
            seed=seed * 1000 + repeat,
            max_tokens=load.max_tokens,
            instruction=load.instruction,
            timeout_s=load.timeout_s,
            max_error_rate=load.max_error_rate,
            api_key_env=self.api_key_env,
            headers=self.headers,
        )

    def require_answer(self, record: RequestRecord) -> None:
        """Raise if an external server did not answer the first question.

        Our own engines have shown by then that they run, and one slow answer is no fault of theirs.

        Raises:
            StageError: it did not.
        """
        if not self.is_ours and record.status != "ok":
            advice = advice_for(record.status)
            raise StageError(
                f"the first question was not answered: {record.status}: {record.error}"
                + (f"; {advice}" if advice else "")
            )


def connect(context: MeasurementContext, cell: ServerCell, batch: str) -> DeployedCell:
    """Ask an external server what it reports about itself; nothing is started.

    Args:
        context: what is measured with.
        cell: the server's cell.
        batch: UTC time of its batch, as in ISO 8601.

    Raises:
        StageError: it cannot be reached, or refuses the key.
        InputError: a variable with the value of a header is not set.
    """
    server, headers = cell.server, cell.server.header_values()
    main = next(iter(server.models.values()))
    described = foreign(server.url, server.api_key_env, headers).described(main)
    return DeployedCell(
        cell=cell,
        base_url=server.url,
        models=server.models,
        deployment=Deployment({"basis": "observed", "basis_reason": None, **described}),
        batch=batch,
        folder=context.cell_folder(cell),
        api_key_env=server.api_key_env,
        headers=headers,
    )


def foreign(
    base_url: str, api_key_env: str | None, headers: tuple[tuple[str, str], ...]
) -> ForeignServer:
    """Return a server with the headers that say who asks."""
    return ForeignServer(base_url, identity_headers(base_url, api_key_env, headers))
