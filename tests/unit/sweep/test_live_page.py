"""The report while it fills, with rows that are made up and a real server."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from made_rows import row
from medsweep.hardware.catalog import PROFILES
from medsweep.monitoring.prometheus import LiveMetrics
from medsweep.sweep import live_page
from medsweep.sweep.live_page import LivePage
from medsweep.sweep.progress import SweepProgress


class Cells:
    """Two cells: one is finished, of the other nothing is measured yet."""

    def __init__(self, folder: Path) -> None:
        self.progress = SweepProgress(io.StringIO())
        self.spec = SimpleNamespace(name="filling")
        self.folder = folder
        self.records: dict[str, dict[str, Any] | None] = {"a": None, "b": None}

    def cell_folder(self, cell: Any) -> Any:
        return SimpleNamespace(record=lambda: self.records[cell.key], measurement_rows=list)


def page(context: Cells) -> LivePage:
    cells = [SimpleNamespace(key=key, profile=PROFILES["1xv100-1cpu"]) for key in context.records]
    return LivePage(context, cells)  # type: ignore[arg-type]


def get(url: str, host: str | None = None) -> str:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text


@pytest.mark.slow
def test_the_report_fills_between_measurements_for_who_looks(tmp_path: Path) -> None:
    context = Cells(tmp_path)
    shown = page(context)
    with LiveMetrics() as metrics:
        metrics.show(shown.pages)
        assert 'src="/report"' in get(metrics.root)
        assert "Nothing is measured yet" in get(f"{metrics.root}report")
        context.records["a"] = {"rows": [row(model="model-of-a", sweep="filling")]}
        assert "Nothing is measured yet" in get(f"{metrics.root}report"), "not while a load runs"
        shown.refresh()
        assert "model-of-a" in get(f"{metrics.root}report")
        context.records["b"] = {"rows": [row(model="model-of-b", sweep="filling")]}
        shown.refresh()
        assert "model-of-b" in get(f"{metrics.root}report")
        with context.progress.phase("start Ray"):
            state = json.loads(get(f"{metrics.root}status"))
        assert state["version"] == 2
        assert state["status"].endswith("start Ray")
        assert "medsweep_cells" in get(metrics.url), "beside the metrics"
    assert list(tmp_path.iterdir()) == [], "nothing is left among the results"


def test_nothing_is_drawn_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(Cells(tmp_path))
    monkeypatch.setattr(LivePage, "_draw", lambda self: pytest.fail("drawn for nobody"))
    shown.refresh()


def test_a_report_that_cannot_be_drawn_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Cells(tmp_path)
    shown = page(context)
    shown.pages["/"]()

    def broken(self: LivePage) -> bytes:
        raise ValueError("'take two tablets' is no number")

    monkeypatch.setattr(LivePage, "_draw", broken)
    shown.refresh()
    assert context.progress.state["notes"] == ["the live report cannot be drawn: ValueError"]


def test_only_this_machine_gets_the_pages(tmp_path: Path) -> None:
    with LiveMetrics() as metrics:
        metrics.show(page(Cells(tmp_path)).pages)
        assert "/report" in get(metrics.root, host="localhost:1")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(metrics.root, host="evil.example:80")
        assert "medsweep_cells" in get(metrics.url, host="prometheus:80")


def test_a_pod_serves_metrics_alone(tmp_path: Path) -> None:
    with LiveMetrics(host="0.0.0.0") as metrics:
        metrics.show(page(Cells(tmp_path)).pages)
        assert "medsweep_cells" in get(metrics.root.replace("0.0.0.0", "127.0.0.1"))


def test_the_page_asks_no_other_server() -> None:
    assert "http" not in live_page._FRAME
