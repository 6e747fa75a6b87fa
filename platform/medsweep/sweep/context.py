"""What every cell of a run is measured with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.errors import EnvironmentFault
from medsweep.hardware.observe import observe_host
from medsweep.models.templates import TEMPLATES, Message, conversation
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.results.aggregate import VARIANTS
from medsweep.results.cells import CellFolder
from medsweep.sweep.cell import AnyCell, Cell, ServerCell
from medsweep.sweep.cell_columns import basis_columns, cell_columns, unmeasured_row
from medsweep.sweep.measurements import Measurement, measurements_of
from medsweep.sweep.predict import Lengths, lengths_of
from medsweep.sweep.progress import SweepProgress
from medsweep.sweep.resolve import Resolved
from medsweep.sweep.spec import SweepSpec


@dataclass(frozen=True)
class MeasurementContext:
    """What every cell of a run is measured with.

    Attributes:
        resolved: the sweep.
        folder: of the sweep's results.
        metrics: live metrics.
        progress: steps done and to come.
        given_up: keys of the cells that failed in this run.
        on_measured: called after each measurement, when no load runs.
    """

    resolved: Resolved
    folder: Path
    metrics: LiveMetrics
    progress: SweepProgress
    given_up: set[str] = field(default_factory=set)
    on_measured: list[Callable[[], None]] = field(default_factory=list)

    @property
    def spec(self) -> SweepSpec:
        """The sweep's file."""
        return self.resolved.spec

    @cached_property
    def pairs(self) -> dict[str, Pair]:
        """Question and reference of the evaluation side, by question_id."""
        return {pair.question_id: pair for pair in self.resolved.split.evaluation}

    def messages(self, question_id: str) -> list[Message]:
        """Return the messages that ask a question."""
        return conversation(self.pairs[question_id].question, self.spec.load.instruction)

    def prompts(self, template: str) -> list[str]:
        """Return the prompts of the evaluation side, in the template of this name."""
        render = TEMPLATES[template].render
        return [render(self.messages(question_id)) for question_id in self.pairs]

    def longest_request(self, cell: Cell, template: str) -> int:
        """Return an upper bound of a prompt and its answer, in tokens: each has at least one byte.

        Args:
            cell: that is asked.
            template: name of the template that it serves with.
        """
        longest = max(len(prompt.encode()) for prompt in self.prompts(template))
        return min(longest + self.spec.load.max_tokens, cell.model.context_length)

    @cached_property
    def leaked(self) -> frozenset[str]:
        """Ids of the evaluation questions whose answers are in the training side."""
        return frozenset(leak.question_id for leak in self.resolved.split.leaks)

    @cached_property
    def lengths(self) -> Lengths:
        """Lengths of the dataset's texts."""
        split = self.resolved.split
        return lengths_of(split.train, split.evaluation)

    def measurements(self, cell: AnyCell) -> list[Measurement]:
        """Return every measurement that a cell needs."""
        variants = tuple(cell.server.models) if isinstance(cell, ServerCell) else VARIANTS
        return measurements_of(self.spec.load, len(self.pairs), variants)

    def cell_folder(self, cell: AnyCell) -> CellFolder:
        """Return the folder of a cell."""
        return CellFolder(self.folder / "cells" / cell.key)

    def missing(self, cell: AnyCell) -> list[Measurement]:
        """Return the measurements that a cell still needs."""
        folder = self.cell_folder(cell)
        return [each for each in self.measurements(cell) if not folder.has_measurement(each.name)]

    def variants_due(self, cell: AnyCell, deployment: int) -> set[str]:
        """Return the variants of which a planned deployment of a cell still needs measurements."""
        return {each.variant for each in self.missing(cell) if each.deployment == deployment}

    def deploys_due(self, cell: AnyCell) -> int:
        """Return how often a cell is still deployed; a merged adapter's base is on its own."""
        merged = not isinstance(cell, ServerCell) and cell.serving.adapters == "merged"
        return len(
            {(each.deployment, each.variant if merged else None) for each in self.missing(cell)}
        )

    def deployments_due(self, cell: AnyCell) -> list[int]:
        """Return the planned deployments of which a cell still needs measurements."""
        return sorted({each.deployment for each in self.missing(cell)})

    def columns(self, cell: AnyCell) -> dict[str, Any]:
        """Return the columns of a cell that are known before it runs."""
        return cell_columns(self.resolved, cell)

    def give_up(
        self, cell: AnyCell, reason: str, observed: Mapping[str, Any] | None = None
    ) -> None:
        """Record that a cell failed; its measurements so far stay for the next run.

        Args:
            cell: the cell.
            reason: why it failed.
            observed: columns of the node that it ran on; None if it never had one.
        """
        self.given_up.add(cell.key)
        self.progress.note(f"failed: {cell.name}: {reason}")
        self.progress.skip("load", len(self.missing(cell)))
        if observed is None:
            observed = (
                {"basis": "observed"}
                if isinstance(cell, ServerCell)
                else basis_columns(cell.profile, observe_host())
            )
        row = unmeasured_row(self.resolved, cell, "failed", reason, observed)
        try:
            self.cell_folder(cell).finish("failed", reason, [row])
        except EnvironmentFault as fault:
            self.progress.note(str(fault))
