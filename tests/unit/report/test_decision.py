from pathlib import Path
from typing import Any

import pytest

from medsweep.report.figures import save, tradeoff
from medsweep.report.table import make_table
from medsweep.report.tables.bound import BoundRow, bound_table
from medsweep.report.tables.decision import DecisionRow, decision_table
from medsweep.report.tables.roofline import RooflineRow, roofline_table

Rows = list[dict[str, Any]]


def test_one_row_a_configuration_the_best_trade_offs_of_each_basis_marked(
    rows: Rows, small: Any
) -> None:
    table = decision_table(rows)
    assert [(row.model, row.profile, row.basis, row.on_front) for row in table] == [
        (small.distil, "host", "observed", True),
        # Better than the other emulated one, and slower: neither beats the other.
        (small.llama, "1xa100-1cpu", "emulated", True),
        (small.distil, "1xv100-1cpu", "emulated", True),
    ]
    llama = table[1]
    assert llama.e2e is not None
    assert llama.e2e.mean == pytest.approx(0.5)  # of c1, the lightest
    assert llama.busiest == "c4"
    assert llama.requests_per_s == pytest.approx(5.0)
    assert llama.usd_per_1k is None


def test_what_another_beats_in_both_is_off_the_front(rows: Rows, small: Any) -> None:
    for row in rows:
        if row["profile"] == "1xv100-1cpu" and row["status"] == "ok":
            row["token_f1"] = 0.9
    front = [row.model for row in decision_table(rows) if row.on_front]
    assert front == [small.distil, small.distil]


def test_the_price_is_of_a_thousand_answers_at_the_busiest_point(rows: Rows, small: Any) -> None:
    for row in rows:
        if row["profile"] == "host":
            row["usd_per_answer"] = 0.002
    host = decision_table(rows)[0]
    assert host.usd_per_1k == pytest.approx(2.0)
    cells = make_table(DecisionRow, [host]).rows[0]
    assert cells[-1].text == "2.00"


def test_the_figure_names_models_and_the_profiles_on_the_front(
    rows: Rows, tmp_path: Path, small: Any
) -> None:
    figure = tradeoff(rows)
    svg = save(figure, tmp_path, "tradeoff")
    for text in ("observed", "emulated", small.llama, "1xa100-1cpu", "host", "EMULATED"):
        assert text in svg
    points = figure.axes[0].collections[0].get_offsets()
    assert points.tolist() == [[pytest.approx(100), pytest.approx(0.3)]]


def test_what_bound_most_repeats_is_said_with_its_evidence(rows: Rows, small: Any) -> None:
    assert bound_table(rows) == []
    for row, bound in zip(rows, ("queue", "cpu", "cpu"), strict=False):
        row |= {"bound": bound, "bound_evidence": f"{bound} is busy", "load_point": "c1"}
    [found] = bound_table(rows)
    assert (found.model, found.load_point, found.bound) == (small.llama, "c1", "cpu")
    assert (found.agreeing, found.repeats, found.evidence) == (2, 3, "cpu is busy")
    assert [cell.text for cell in make_table(BoundRow, [found]).rows[0]][4:6] == ["cpu", "2 of 3"]


def test_the_roofline_stands_beside_what_was_measured(rows: Rows, small: Any) -> None:
    assert roofline_table(rows) == []
    for row in rows:
        if row["profile"] == "host":
            row |= {"predicted_tpot_s": 0.0005, "predicted_bound": "bandwidth"}
            row |= {"least_tpot_s": 0.0004}
    [found] = roofline_table(rows)
    assert (found.model, found.profile, found.load_point) == (small.distil, "host", "c1")
    assert found.factor == pytest.approx(2.0)
    cells = make_table(RooflineRow, [found]).rows[0]
    assert [cell.text for cell in cells][5:8] == [
        "0.400",
        "2.00",
        "bandwidth",
    ]
