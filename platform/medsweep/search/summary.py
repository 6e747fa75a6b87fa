"""The summary of a search, and the files that it is written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsweep.finetune.job import FineTuneJob
from medsweep.results.store import write_json, write_rows
from medsweep.search.effects import MainEffect, main_effects
from medsweep.search.record import (
    COLUMNS,
    PARAMETERS,
    Point,
    common_rows,
    last_rows,
    read_record,
    table,
)
from medsweep.search.tradeoff import Tradeoff, trade_off
from medsweep.search.trial import trial_job


@dataclass(frozen=True)
class SearchSummary:
    """The summary of a search.

    Attributes:
        metric: the quality figure.
        trials: number of trials by status.
        compared_at: epoch that the effects are of: the last that every trial reached.
        effects: of the parameters that vary.
        trade: trade-off among the finished trials; None if none finished.
    """

    metric: str
    trials: dict[str, int]
    compared_at: int | None
    effects: tuple[MainEffect, ...]
    trade: Tradeoff | None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain data."""
        return {
            "metric": self.metric,
            "trials": self.trials,
            "compared_at_epoch": self.compared_at,
            "effects": [asdict(effect) for effect in self.effects],
            "cost": self.trade.cost if self.trade else None,
            "front": [dict(row) for row in self.trade.front] if self.trade else [],
            "best": dict(self.trade.best) if self.trade else None,
            "lead_over_mean_trial": self.trade.lead if self.trade else None,
        }


def write_summary(
    folder: Path, job: FineTuneJob, points: Sequence[Point], metric: str
) -> SearchSummary:
    """Read the records, and write search.parquet, search.json and the figure.

    Args:
        folder: of the search, with the records in `trials`.
        job: the sweep's fine-tune.
        points: the grid.
        metric: the quality figure.
    """
    from medsweep.report.figures.style import save
    from medsweep.search.figure import search_figure

    records = [
        read_record(folder / "trials", trial_job(job, point).identity[:16], point)
        for point in points
    ]
    rows = table(records)
    write_rows(folder / "search.parquet", COLUMNS, rows)
    status = {row["trial"]: row["status"] for row in rows}
    names = sorted(set(status.values()))
    comparable = common_rows(rows)
    finished = last_rows(rows)
    summary = SearchSummary(
        metric,
        {name: list(status.values()).count(name) for name in names},
        comparable[0]["epoch"] if comparable else None,
        tuple(main_effects(comparable, PARAMETERS, metric)),
        trade_off(finished, metric),
    )
    write_json(folder / "search.json", summary.as_dict())
    title = f"Search over recipes of {job.weights.spec.name}"
    save(search_figure(title, finished, summary.trade, summary.effects, metric), folder, "search")
    return summary
