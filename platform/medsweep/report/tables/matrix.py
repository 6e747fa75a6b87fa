"""The matrix: which model ran on which hardware profile, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.metrics.statistics import Interval
from medsweep.report.numbers import seconds, share
from medsweep.report.table import Column, ReportTable, TableCell, tabulate, text
from medsweep.report.tables.grouping import (
    interval_over_questions,
    mean_interval,
    model_order,
    most_questions,
    profile_order,
)
from medsweep.results.aggregate import (
    Row,
    basis_order,
    distinct,
    first,
    group_by_columns,
    headline_rows,
    load_points,
    mean,
)

NOT_IN_SWEEP = "not in sweep"


@dataclass(frozen=True)
class MatrixCell:
    """One model on one hardware profile.

    Attributes:
        model: name.
        profile: hardware profile.
        state: ok, failed, refused or "not in sweep"; failed if any load point failed.
        basis: observed, emulated or predicted; None if nothing ran.
        token_f1: mean over questions and repeats at the load point with most questions; None if not
            graded.
        ttft: mean over repeats at `load_point`, in seconds.
        load_point: the lightest load point of the cell.
        output_tokens_per_s: highest mean of a load point.
        reason: why not ok.
    """

    model: str
    profile: str
    state: str
    basis: str | None = None
    token_f1: Interval | None = None
    ttft: Interval | None = None
    load_point: str | None = None
    output_tokens_per_s: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Matrix:
    """Hardware profiles by models.

    Attributes:
        models: columns, in the catalogue's order.
        profiles: rows, in the catalogue's order.
        cells: every pair of the two.
    """

    models: tuple[str, ...]
    profiles: tuple[str, ...]
    cells: tuple[MatrixCell, ...]

    def at(self, profile: str, model: str) -> MatrixCell:
        """Return one cell.

        Raises:
            KeyError: no such profile or model in the matrix.
        """
        for cell in self.cells:
            if (cell.profile, cell.model) == (profile, model):
                return cell
        raise KeyError((profile, model))

    def profile_bases(self, profile: str) -> tuple[str, ...]:
        """Return every basis of a profile's cells, observed first."""
        bases = {cell.basis for cell in self.cells if cell.profile == profile and cell.basis}
        return tuple(sorted(bases, key=basis_order))

    def count(self, state: str) -> int:
        """Return how many cells are in a state."""
        return sum(cell.state == state for cell in self.cells)

    @property
    def table(self) -> ReportTable:
        """Profiles down, models across."""
        return tabulate(
            "State of every cell, with token F1 and mean time to first token at the lightest load",
            [Column("Hardware profile", text), *map(self._column, self.models)],
            self.profiles,
        )

    def _column(self, model: str) -> Column:
        def shown(profile: str) -> TableCell:
            cell = self.at(profile, model)
            kind = f"state {cell.state.split()[0]}"
            if cell.state != "ok":
                return TableCell(cell.state, title=cell.reason or "", kind=kind)
            figures = f"F1 {share(cell.token_f1)} · TTFT {seconds(cell.ttft)}"
            return TableCell(f"ok, {cell.basis}", note=figures, kind=kind)

        return Column(model, shown)


def matrix(rows: Sequence[Row]) -> Matrix:
    """Return the matrix of hardware profiles by models.

    Args:
        rows: of `benchmark.parquet`.
    """
    by_cell = group_by_columns(rows, "profile", "model")
    profiles = sorted({profile for profile, _ in by_cell}, key=profile_order)
    models = sorted({model for _, model in by_cell}, key=model_order)
    return Matrix(
        tuple(models),
        tuple(profiles),
        tuple(
            _cell(model, profile, by_cell[profile, model])
            if (profile, model) in by_cell
            else MatrixCell(model, profile, NOT_IN_SWEEP)
            for profile in profiles
            for model in models
        ),
    )


def _cell(model: str, profile: str, rows: Sequence[Row]) -> MatrixCell:
    statuses = distinct(rows, "status")
    state = next((name for name in ("failed", "ok", "refused") if name in statuses), "failed")
    measured = headline_rows(rows)
    by_point = group_by_columns(measured, "load_point")
    lightest = next(iter(load_points(measured)), None)
    rates = [mean(group, "output_tokens_per_s") for group in by_point.values()]
    return MatrixCell(
        model=model,
        profile=profile,
        state=state,
        basis=first(measured or rows, "basis") if state != "refused" else None,
        token_f1=interval_over_questions(most_questions(measured), "token_f1"),
        ttft=mean_interval(by_point.get((lightest,), ()), "ttft"),
        load_point=lightest,
        output_tokens_per_s=max((rate for rate in rates if rate is not None), default=None),
        reason=first([row for row in rows if row["status"] == state], "reason"),
    )
