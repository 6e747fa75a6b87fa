"""Prepare cells for their deployment: adapter, node, weights, and what their engines are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsweep.cluster.protocol import Cluster
from medsweep.errors import EnvironmentFault, MedSweepError
from medsweep.finetune.adapter import Adapter, read_adapter
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.weights import Weights, fetch_weights
from medsweep.serving.equality import ANSWER_TOKENS, compare_merged
from medsweep.serving.merge import merged_folder
from medsweep.serving.ray.deployments import CellDeployment, dtype_here, start_ingress
from medsweep.sweep.cell import AnyCell, Cell
from medsweep.sweep.cell_columns import Row
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.finetune import adapter_folder
from medsweep.sweep.spec import SweepSpec

COMPARED = 8
"""Questions that a merged model and the live adapter are both asked: the first of the dataset."""


@dataclass(frozen=True)
class PreparedCell:
    """A cell that can be deployed.

    Attributes:
        cell: the cell.
        adapter: what it serves.
        columns: of its rows, on how a merged adapter compares with the live one.
    """

    cell: Cell
    adapter: Adapter
    columns: Row

    @property
    def variants(self) -> tuple[str, ...]:
        """What its deployment answers as; a merged model does not have its base beside it."""
        return ("adapter",) if self.cell.serving.adapters == "merged" else ("adapter", "base")


def prepare_cells(
    context: MeasurementContext,
    cluster: Cluster,
    cells: Sequence[Cell],
    failures: Mapping[str, str],
) -> list[PreparedCell]:
    """Return the cells that have an adapter, a node and weights on it; give up the others.

    Args:
        context: what they are measured with.
        cluster: where they run.
        cells: which ones.
        failures: why there is no adapter, by its key.
    """
    resolved, ready = context.resolved, []
    trained = [cell for cell in cells if cell.adapter not in failures]
    for cell in cells:
        if cell.adapter in failures:
            context.give_up(cell, failures[cell.adapter])
    try:
        if trained:
            cluster.ensure_nodes([cell.profile for cell in trained])
    except EnvironmentFault as fault:
        for cell in trained:
            context.give_up(cell, str(fault))
        return []
    for cell in trained:
        try:
            plan = resolved.plan.adapters[cell.adapter]
            adapter = read_adapter(adapter_folder(context.folder, plan))
            weights = resolved.weights[cell.model.name]
            cluster.call_on_node(cell.profile, _ensure_base, adapter.base, weights)
            columns: Row = {"merged_reason": "the adapter is served live"}
            if cell.serving.adapters == "merged":
                prompts = context.prompts(adapter.template)[:COMPARED]
                longest = min(ANSWER_TOKENS, context.spec.load.max_tokens)
                columns = cluster.call_on_node(
                    cell.profile,
                    _merge,
                    adapter,
                    cell.dtype,
                    cell.profile.gpus,
                    prompts,
                    longest,
                    gpus=cell.profile.gpus,
                )
        except MedSweepError as error:
            context.give_up(cell, str(error))
        else:
            ready.append(PreparedCell(cell, adapter, columns))
    return ready


def start_ahead(
    spec: SweepSpec, cluster: Cluster, cells: Sequence[AnyCell], training: HardwareProfile
) -> None:
    """Start what the first batch of cells needs, beside a fine-tune whose workers start.

    Args:
        spec: of the sweep.
        cluster: on this machine.
        cells: the batch.
        training: profile of the node that trains, which keeps running.
    """
    ours = [cell.profile for cell in cells if isinstance(cell, Cell)]
    if ours:
        start_ingress(cluster.port, loopback=spec.load.shards == 1)
        cluster.ensure_nodes([training, *ours])


def deployment_of(
    context: MeasurementContext, prepared: PreparedCell, *, base_alone: bool = False
) -> CellDeployment:
    """Return what the engine of a cell is told.

    Args:
        context: what it is measured with.
        prepared: the cell.
        base_alone: serve the base without the adapter.
    """
    cell, adapter = prepared.cell, prepared.adapter
    settings = context.spec.serve.settings(
        cell.serving.engine,
        cell.model,
        dtype=cell.dtype,
        cpus=cell.profile.cpus,
        profile=cell.profile,
        base=adapter.base,
        adapters={} if base_alone else {adapter.folder.name: adapter},
        max_model_len=context.longest_request(cell, adapter.template),
    )
    merged = cell.serving.adapters == "merged" and not base_alone
    return CellDeployment(cell.key, cell.profile, settings, merged)


def _ensure_base(base: Path, weights: Weights) -> None:
    """Fetch or build the weights that an adapter names, where the cache does not hold them.

    A pod begins with an empty cache.
    """
    if not base.is_dir():
        fetch_weights(weights)


def _merge(adapter: Adapter, dtype: str, gpus: int, prompts: Sequence[str], max_tokens: int) -> Row:
    """Merge an adapter on its node before it is deployed, and compare it with the live one."""
    dtype = dtype_here(dtype, gpus)
    merged_folder(adapter, adapter.base, dtype)
    try:
        equality = compare_merged(adapter, adapter.base, dtype, prompts, max_tokens)
    except (RuntimeError, MemoryError) as error:
        # Such as too little memory for one of the two in transformers; its text may be long.
        return {"merged_reason": f"could not be compared: {type(error).__name__}"}
    return {
        "merged_questions": equality.questions,
        "merged_equal_share": equality.equal_share,
        "merged_logit_difference": equality.logit_difference,
    }
