"""Results in Python: data frames, the report, a recommendation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.api.table import Table
from medsweep.errors import InputError, UnknownName
from medsweep.results.reader import Results as ResultFiles

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """What a sweep or a load test measured.

    Args:
        path: the folder of a sweep or of `medsweep bench --out`, its `benchmark.parquet`, or the
            URL of the folder in an object store.

    Raises:
        InputError: there are no results.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.files = ResultFiles.open(path)

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per cell, load point and repeat: docs/reference/results.md."""
        return Table(self.files.rows).to_pandas()

    def requests(self) -> pd.DataFrame:
        """Return one row per request, with the model and profile of its cell."""
        return Table(self.files.requests()).to_pandas()

    def responses(self) -> pd.DataFrame:
        """Return one row per graded answer, with the model and profile of its cell."""
        return Table(self.files.responses()).to_pandas()

    def report(self) -> Path:
        """Write report.html, figures/ and tables/ into the folder; return the page's path.

        Raises:
            InputError: the results are not in a folder of this machine.
        """
        from medsweep.report.page import write_report

        if not Path(self.path).is_dir():
            raise InputError(
                f"{self.path}: a report is written into the folder of its results; open that folder"
            )
        return write_report(Path(self.path))

    def recommend(self, *, rate: float | None = None, **limits: float) -> Table:
        """Rank the configurations by whether they meet limits; cheapest first among those that do.

        Args:
            rate: requests per second that must be answered; gives the number of replicas.
            limits: bounds in seconds, shares or USD, named as `medsweep recommend` names them:
                `max_p95_ttft=0.5`, `min_token_f1=0.25`, `max_usd_per_1k=2`.

        Returns:
            One row per configuration, at the load point that suits it best.

        Raises:
            UnknownName: a limit that there is not.
            InputError: there are no limits.
        """
        from medsweep.decide.limits import limit_options, make_limits
        from medsweep.decide.recommend import recommend_by_basis

        named = {name.replace("_", "-"): bound for name, bound in limits.items()}
        for name in named:
            if name not in limit_options():
                known = [option.replace("-", "_") for option in limit_options()]
                raise UnknownName("limit", name.replace("-", "_"), known)
        return Table(
            [
                {
                    "configuration": verdict.candidate.name,
                    "load_point": verdict.candidate.load_point,
                    "basis": basis,
                    "met": verdict.is_met,
                    "missed": verdict.is_missed,
                    "probability": verdict.probability,
                    **{check.limit.column: check.value for check in verdict.checks},
                    "failed_share": verdict.candidate.failed_share,
                    "replicas": verdict.replicas,
                    "usd_per_hour": verdict.usd_per_hour,
                    "doubts": "; ".join(verdict.doubts),
                }
                for basis, verdicts in recommend_by_basis(
                    self.files, make_limits(named), rate
                ).items()
                for verdict in verdicts
            ]
        )

    def __repr__(self) -> str:
        return f"Results({str(self.path)!r}): {len(self.files.rows)} rows"


def open(path: str | Path) -> Results:  # noqa: A001 `ms.open` opens results
    """Open results: the folder of a sweep, its `benchmark.parquet`, or an object store's URL.

    Raises:
        InputError: there are no results.
    """
    return Results(path)
