"""The report while it fills: a page on the live port, with the status of the run above it."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medsweep.errors import MedSweepError
from medsweep.monitoring.live_server import Page
from medsweep.results.files import BENCHMARK_FILE
from medsweep.results.schema import BENCHMARK, renamed
from medsweep.results.store import write_rows
from medsweep.sweep.cell import AnyCell
from medsweep.sweep.cell_columns import priced
from medsweep.sweep.context import MeasurementContext
from medsweep.sweep.finish import assembled

# Who has not asked for this long looks no more: nothing is drawn for nobody.
_LOOKS_S = 60.0
_HTML = "text/html; charset=utf-8"

_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>NAME: running</title><style>
html, body { height: 100%; margin: 0 } body { display: flex; flex-direction: column;
font: 15px system-ui, sans-serif; color-scheme: light dark }
header { padding: .6rem 1rem; border-bottom: 1px solid #8888 }
pre { margin: .4rem 0 0; max-height: 8.5em; overflow: auto; font-size: 12px; white-space: pre-wrap }
iframe { flex: 1; border: 0; width: 100% }
</style></head><body>
<header><strong id="status" role="status">NAME</strong><pre id="notes"></pre></header>
<iframe id="report" title="Report so far" src="/report"></iframe>
<script>
let version = 0;
async function look() {
  try {
    const state = await (await fetch('/status')).json();
    document.getElementById('status').textContent = state.status;
    document.getElementById('notes').textContent = state.notes.join('\\n');
    if (state.version !== version) {
      version = state.version;
      document.getElementById('report').contentWindow.location.reload();
    }
    setTimeout(look, 2000);
  } catch {
    document.getElementById('status').textContent = 'The run has ended. Report: FOLDER';
  }
}
look();
</script></body></html>
"""

_NOTHING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Report</title>
<p style="font: 15px system-ui, sans-serif; margin: 2rem; color-scheme: light dark">
Nothing is measured yet. The report is drawn after the next measurement.</p></html>
"""


class LivePage:
    """Draws the report of what is measured so far, between measurements and for who looks.

    Drawing takes the processor for seconds, which a measurement on the same machine would show.

    Args:
        context: of the run.
        cells: of the sweep, or of the job.
    """

    def __init__(self, context: MeasurementContext, cells: Sequence[AnyCell]) -> None:
        self._context, self._cells = context, cells
        self._lock = threading.Lock()
        self._looked_s = float("-inf")
        self._drawn = _NOTHING.encode()
        self._version = 0

    @property
    def pages(self) -> dict[str, Page]:
        """The pages by their path on the live port."""
        return {"/": self._frame, "/report": self._report, "/status": self._status}

    def refresh(self) -> None:
        """Draw the report again if someone is looking; called when a measurement ends.

        A report that cannot be drawn is said on the page and stops nothing.
        """
        with self._lock:
            if time.monotonic() - self._looked_s > _LOOKS_S:
                return
        try:
            drawn = self._draw()
        except Exception as error:  # noqa: BLE001 the measurements matter more than the page
            # Of an error that is not ours the text may quote an answer.
            reason = str(error) if isinstance(error, MedSweepError) else type(error).__name__
            self._context.progress.note(f"the live report cannot be drawn: {reason}")
            return
        with self._lock:
            self._drawn = drawn
            self._version += 1

    def _frame(self) -> tuple[str, bytes]:
        self._look()
        text = _FRAME.replace("NAME", self._context.spec.name)
        return _HTML, text.replace("FOLDER", str(self._context.folder / "report.html")).encode()

    def _report(self) -> tuple[str, bytes]:
        self._look()
        with self._lock:
            return _HTML, self._drawn

    def _status(self) -> tuple[str, bytes]:
        self._look()
        state = self._context.progress.state | {"version": self._version}
        return "application/json", json.dumps(state).encode()

    def _look(self) -> None:
        with self._lock:
            self._looked_s = time.monotonic()

    def _draw(self) -> bytes:
        from medsweep.report.page import write_report

        with tempfile.TemporaryDirectory(prefix="medsweep-live-") as scratch:
            folder = Path(scratch) / self._context.spec.name
            folder.mkdir()
            for name in ("adapters", "cells", "sweep.yaml"):
                if (source := self._context.folder / name).exists():
                    (folder / name).symlink_to(source)
            write_rows(folder / BENCHMARK_FILE, BENCHMARK, self._rows())
            return write_report(folder).read_bytes()

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of finished cells, and of the measurements of those that are not."""
        rows: list[dict[str, Any]] = []
        for cell in self._cells:
            folder = self._context.cell_folder(cell)
            record = folder.record()
            if record is not None:
                cell_rows = record["rows"]
            elif measured := folder.measurement_rows():
                cell_rows = [
                    {"status": "ok", "reason": None, **row}
                    for row in assembled(self._context, cell, measured)
                ]
            else:
                continue
            rows += [priced(renamed(row), cell.profile) for row in cell_rows]
        return rows
