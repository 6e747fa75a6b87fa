"""What a search came to: its files, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.finetune.job import FineTuneJob
from medsweep.results.store import write_json, write_rows
from medsweep.search.effects import MainEffect, main_effects
from medsweep.search.grid import PARAMETERS, Point, variant
from medsweep.search.record import COLUMNS, common_rows, last_rows, read_record, table
from medsweep.search.tradeoff import Tradeoff, trade_off


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        metric: the quality figure.
        trials: number by status.
        compared_at: epoch at which the effects were taken: the last that every trial reached.
        effects: of the parameters that vary.
        trade: what the finished trials offer; None where none finished.
    """

    metric: str
    trials: dict[str, int]
    compared_at: int | None
    effects: tuple[MainEffect, ...]
    trade: Tradeoff | None

    def summary(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "metric": self.metric,
            "trials": self.trials,
            "compared_at_epoch": self.compared_at,
            "effects": [asdict(effect) for effect in self.effects],
            "cost": self.trade.cost if self.trade else None,
            "front": [dict(row) for row in self.trade.front] if self.trade else [],
            "best": dict(self.trade.best) if self.trade else None,
        }


def write_outcome(folder: Path, job: FineTuneJob, points: Sequence[Point], metric: str) -> Outcome:
    """Gather the records, and write search.parquet, search.json and the picture.

    Args:
        folder: of the search; the records are in `trials`.
        job: the recipe.
        points: the grid.
        metric: the quality figure.
    """
    from medsweep.report.figures.style import save
    from medsweep.search.figure import search_figure

    records = [
        read_record(folder / "trials", variant(job, point).identity[:16], point) for point in points
    ]
    rows = table(records)
    write_rows(folder / "search.parquet", COLUMNS, rows)
    status = {row["trial"]: row["status"] for row in rows}
    names = sorted(set(status.values()))
    comparable = common_rows(rows)
    finished = last_rows(rows)
    outcome = Outcome(
        metric,
        {name: list(status.values()).count(name) for name in names},
        comparable[0]["epoch"] if comparable else None,
        tuple(main_effects(comparable, PARAMETERS, metric)),
        trade_off(finished, metric),
    )
    write_json(folder / "search.json", outcome.summary())
    title = f"Search over recipes of {job.weights.spec.name}"
    save(search_figure(title, finished, outcome.trade, outcome.effects, metric), folder, "search")
    return outcome
