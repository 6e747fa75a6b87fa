from pathlib import Path
from typing import Any

import pytest

from medsweep.comparison.spread import spreads
from medsweep.report.tables.spread import ONCE, spread_table
from medsweep.results.reader import Results
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows

Rows = list[dict[str, Any]]


def rows_of(means: dict[int, list[float]]) -> Rows:
    """Return the rows of one load point: the repeats' end-to-end times by deployment."""
    nothing = {column.name: None for column in BENCHMARK}
    known = {"model": "m", "profile": "host", "cell": "m@host", "key": "k", "variant": "adapter"}
    known |= {"load_point": "c1", "concurrency": 1, "basis": "observed", "status": "ok"}
    return [
        {**nothing, **known, "deployment": deployment, "e2e_mean_s": e2e_s, "repeat": repeat}
        for deployment, repeats in means.items()
        for repeat, e2e_s in enumerate(repeats, start=1)
    ]


def written(folder: Path, rows: Rows) -> Results:
    write_rows(folder / "benchmark.parquet", BENCHMARK, rows)
    return Results.open(folder)


def test_the_smallest_visible_difference_is_that_of_a_power_table(tmp_path: Path) -> None:
    rows = rows_of({1: [1.0], 2: [1.1], 3: [1.2]})
    [found] = spreads(written(tmp_path, rows))
    # Three against three, two-sided at 5 %: power is 80 % at 3.07 standard deviations (G*Power).
    assert found.could_see == pytest.approx(3.07 * 0.1 / 1.1, rel=0.01)
    assert (found.model, found.load_point, found.basis) == ("m", "c1", "observed")


def test_one_deployment_says_that_it_is_unknown(tmp_path: Path) -> None:
    rows = rows_of({1: [1.0, 1.1, 1.2]})
    [found] = spreads(written(tmp_path, rows))
    assert found.could_see is None
    assert found.components.deployment is None
    table = spread_table(rows, [found])
    assert "Smallest visible difference" not in [each.title for each in table.columns]
    assert dict(table.empty)["Smallest visible difference"] == f"unknown: {ONCE}"


def test_deployments_of_a_simulation_are_found_again(tmp_path: Path) -> None:
    rows = rows_of({1: [0.9, 0.92], 2: [1.0, 1.02], 3: [1.1, 1.12]})
    results = written(tmp_path, rows)
    [found] = spreads(results)
    table = spread_table(rows, [found])
    shown = dict(zip([each.title for each in table.columns], table.rows[0], strict=True))
    # Within: 0.0141; between: sqrt(0.01 - 0.0002 / 2) = 0.0995, of a mean of 1.01.
    assert found.components.deployment == pytest.approx(0.0985, rel=0.001)
    assert found.components.repeat == pytest.approx(0.0140, rel=0.001)
    assert found.could_see == pytest.approx(0.304, rel=0.01)
    assert shown["Between deployments"].text == "9.9 %"
    assert shown["Between repeats"].text == "1.4 %"
    assert shown["Smallest visible difference"].text.startswith("30")
