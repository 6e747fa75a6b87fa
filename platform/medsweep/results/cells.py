"""One cell's folder: visits while it is being measured, and its files once it is done."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medsweep.results.digests import differing, digests
from medsweep.results.schema import REQUESTS, RESPONSES
from medsweep.results.store import read_json, read_rows, write_json, write_rows

FINAL = ("ok", "refused")
"""States of a cell that the next run leaves as they are; a failed one is tried again."""


class CellFolder:
    """The files of one cell, `cells/<key>/`.

    A visit is written as soon as it is measured, so that a killed run goes on behind it;
    `cell.json` is written last, and only with it the cell is done.

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
        """Return the files that are not as they were when the cell was finished."""
        record = self.record()
        return ["cell.json"] if record is None else differing(self.path, record.get("files", {}))

    def record(self) -> dict[str, Any] | None:
        """Return what `cell.json` holds, or None."""
        return read_json(self.path / "cell.json")

    def has_measurement(self, name: str) -> bool:
        """Whether a visit was measured already."""
        return (self._measurements / f"{name}.json").is_file()

    def save_measurement(
        self,
        name: str,
        row: Mapping[str, Any],
        requests: Iterable[Mapping[str, Any]],
        responses: Iterable[Mapping[str, Any]],
    ) -> None:
        """Write one visit; its JSON file comes last and makes it count."""
        write_rows(self._measurements / f"{name}.requests.parquet", REQUESTS, requests)
        write_rows(self._measurements / f"{name}.responses.parquet", RESPONSES, responses)
        write_json(self._measurements / f"{name}.json", row)

    def measurement_rows(self) -> list[dict[str, Any]]:
        """Return the figures of every visit so far, by name of the visit."""
        rows = (read_json(path) for path in sorted(self._measurements.glob("*.json")))
        return [row for row in rows if row is not None]

    def finish(self, status: str, reason: str | None, rows: Iterable[Mapping[str, Any]]) -> None:
        """Join the visits into the cell's files and write `cell.json`.

        Args:
            status: ok, failed or refused.
            reason: why not ok.
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
