"""The series that the page on scale computes with are those that are really exposed."""

from __future__ import annotations

import re
import urllib.request

from crds import ROOT
from medsweep.monitoring.prometheus import LIVE, LiveMetrics
from medsweep.monitoring.rules import recording_rules

from .test_prometheus import VALUES, record


def series(configurations: int) -> int:
    """How many series a run exposes that measured so many configurations."""
    with LiveMetrics() as metrics:
        for number in range(configurations):
            labels = {**VALUES, "load_point": f"c{number}"}
            metrics.request(labels, record())
            metrics.figures(labels, dict.fromkeys(LIVE, 1.0))
        metrics.planned("s", [("m", "p")])
        for stage in ("fine-tune", "deploy", "load"):
            metrics.stage("s", stage)
        metrics.cells("s", {"pending": 1, "ok": 0, "failed": 0})
        text = urllib.request.urlopen(metrics.url, timeout=60).read().decode()
    return sum(not line.startswith("#") for line in text.splitlines())


def test_the_page_on_scale_computes_with_what_is_exposed() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    one, two = series(1), series(2)
    each = two - one
    fixed = one - each
    recorded = len(recording_rules())
    (stated,) = re.findall(
        r"(\d+) series per configuration.*?add (\d+) per configuration.*?(\d+) per job",
        page,
        re.S,
    )
    assert tuple(map(int, stated)) == (each, recorded, fixed)
    (per_job, total) = re.findall(r"4 × \((\d+ \+ \d+)\) \+ \d+ = (\d+)", page)[0]  # noqa: RUF001
    assert per_job == f"{each} + {recorded}"
    assert int(total) == 4 * (each + recorded) + fixed
