"""The folder of one cell: measurements while it is measured, its files once it is done."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medsweep.results.digests import differing, digests
from medsweep.results.schema import REQUESTS, RESPONSES
from medsweep.results.store import read_json, read_rows, write_json, write_rows

FINAL = ("ok", "refused")
"""Final states of a cell; a failed cell is tried again by the next run."""


class CellFolder:
    """The files of one cell, `cells/<key>/`.

    Each measurement is written as soon as it ends, so that the next run resumes after it.
    `cell.json` is written last: a cell without it is not done.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._measurements = path / "visits"

    @property
    def done(self) -> bool:
        """Whether the cell needs no more work."""
        record = read_json(self.path / "cell.json")
        return record is not None and record["status"] in FINAL

    def faults(self) -> list[str]:
        """Return the files that have changed or gone since the cell was finished."""
        record = self.record()
        return ["cell.json"] if record is None else differing(self.path, record.get("files", {}))

    def record(self) -> dict[str, Any] | None:
        """Return what `cell.json` holds, or None."""
        return read_json(self.path / "cell.json")

    def has_measurement(self, name: str) -> bool:
        """Whether a measurement is stored."""
        return (self._measurements / f"{name}.json").is_file()

    def save_measurement(
        self,
        name: str,
        row: Mapping[str, Any],
        requests: Iterable[Mapping[str, Any]],
        responses: Iterable[Mapping[str, Any]],
    ) -> None:
        """Write one measurement; it counts once its JSON file is written, which is last."""
        write_rows(self._measurements / f"{name}.requests.parquet", REQUESTS, requests)
        write_rows(self._measurements / f"{name}.responses.parquet", RESPONSES, responses)
        write_json(self._measurements / f"{name}.json", row)

    def measurement_row(self, name: str) -> dict[str, Any] | None:
        """Return the row of one measurement, or None."""
        return read_json(self._measurements / f"{name}.json")

    def replace_row(self, name: str, row: Mapping[str, Any]) -> None:
        """Replace the row of a stored measurement."""
        write_json(self._measurements / f"{name}.json", row)

    def measurement_rows(self) -> list[dict[str, Any]]:
        """Return the row of every measurement so far, in order of their names."""
        rows = (read_json(path) for path in sorted(self._measurements.glob("*.json")))
        return [row for row in rows if row is not None]

    def finish(self, status: str, reason: str | None, rows: Iterable[Mapping[str, Any]]) -> None:
        """Join the measurements into the cell's files and write `cell.json`.

        Args:
            status: ok, failed or refused.
            reason: why the status is not ok.
            rows: the cell's rows of `benchmark.parquet`.
        """
        if self._measurements.is_dir():
            for name, columns in (("requests", REQUESTS), ("responses", RESPONSES)):
                parts = sorted(self._measurements.glob(f"*.{name}.parquet"))
                joined = [row for part in parts for row in read_rows(part)]
                write_rows(self.path / f"{name}.parquet", columns, joined)
        files = digests(self.path, besides=("cell.json", "visits"))
        write_json(
            self.path / "cell.json",
            {"status": status, "reason": reason, "files": files, "rows": list(rows)},
        )
        if status == "ok":
            shutil.rmtree(self._measurements, ignore_errors=True)
