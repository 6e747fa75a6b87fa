"""What the report says about cost, about the paper's cells and about models among each other."""

from typing import Any

import pytest

from medsweep.report.table import make_table
from medsweep.report.tables.cost import CostRow, cost_table
from medsweep.report.tables.models import model_against_model
from medsweep.report.tables.paper_cells import paper_cells
from medsweep.report.tables.paper_figures import paper_figures
from medsweep.report.tables.roofline import roofline_table
from medsweep.report.tables.throughput import throughput_table

Rows = list[dict[str, Any]]


def test_each_cell_stands_beside_the_paper_s_time_with_a_reason(rows: Rows, small: Any) -> None:
    found = {(cell.model, cell.profile): cell for cell in paper_cells(rows)}
    assert set(found) == {
        (small.llama, "1xa100-1cpu"),
        (small.distil, "1xv100-1cpu"),
        (small.distil, "host"),
    }
    llama = found[small.llama, "1xa100-1cpu"]
    assert (llama.table_4_s, llama.in_table_3, llama.load_point) == (63.66, True, "c1")
    assert llama.factor == pytest.approx(63.66 / 0.5)
    assert llama.stated == ()
    assert "stand-in is many times smaller than llama-3-8b" in llama.reason
    assert "another machine stood in" in llama.reason
    # 63.66 s less the first 0.05 s, at 0.005 s a token.
    assert "its time is 12,723 tokens; ours are cut at 64" in llama.reason
    host = found[small.distil, "host"]
    assert not host.in_table_3
    assert [each.low_s for each in host.stated] == [15.0]
    assert "stood in" not in host.reason


def test_a_real_model_that_takes_longer_than_the_paper_s(rows: Rows) -> None:
    rows[5] |= {"model": "distilgpt2", "stands_in_for": None, "e2e_mean_s": 9.0, "ttft_mean_s": 8.0}
    [cell] = [cell for cell in paper_cells(rows) if cell.model == "distilgpt2"]
    assert cell.reason == "the paper gives neither the length of its answers nor its engine"


def test_models_that_the_paper_does_not_have_are_left_out(rows: Rows) -> None:
    for row in rows:
        row |= {"model": "smollm2-135m", "stands_in_for": None}
    assert paper_cells(rows) == []


def test_cost_is_that_of_the_busiest_load_point_and_missing_without_a_price(rows: Rows) -> None:
    rows[5] |= {
        "usd_per_hour": 2.0,
        "price_source": "list",
        "price_date": "2026-01-01",
        "usd_per_1000_answers": 0.06,
        "energy_j_per_1000_answers": 50.0,
    }
    first, *others = cost_table(rows)
    assert (first.profile, first.price) == ("host", "list, 2026-01-01")
    assert (first.usd_per_1k, first.energy_j_per_1k) == (0.06, 50.0)
    assert first.requests_per_s == pytest.approx(10.0)
    assert {row.load_point for row in others} == {"c1", "c4"}
    assert all(row.usd_per_1k is None and row.price is None for row in others)


def test_hardware_that_did_not_run_has_no_price_and_no_rate_per_gpu(rows: Rows) -> None:
    for row in rows:
        row |= {"usd_per_hour": 2.0, "price_source": "list", "gpus": 1}
    emulated = [row for row in cost_table(rows) if row.basis == "emulated"]
    assert emulated
    assert {(row.usd_per_hour, row.price) for row in emulated} == {(None, None)}
    per_gpu = {(row.basis, row.per_gpu is None) for row in throughput_table(rows)}
    assert per_gpu == {("emulated", True), ("observed", False)}


def test_models_of_one_basis_are_compared_in_pairs_and_corrected(
    rows: Rows, responses: dict[str, Rows], small: Any
) -> None:
    assert model_against_model(rows, responses) == []  # one is observed, the other emulated
    for row in rows:
        if row["profile"] == "host":
            row["basis"] = "emulated"
    found = model_against_model(rows, responses)
    assert [each.figure for each in found] == ["token_f1", "exact_match"]
    assert all(each.pairs == 6 and each.changed == 0 for each in found)
    assert all(each.verdict == "no clear difference" for each in found if each.p_adjusted)
    for answer in responses[f"key-{small.distil}-host"]:
        answer["token_f1"] -= 0.2
    worse = next(each for each in model_against_model(rows, responses) if each.figure == "token_f1")
    assert worse.subject == f"{small.llama} against {small.distil} (emulated)"
    assert worse.verdict == "better"
    assert worse.after - worse.before == pytest.approx(0.2)


def test_the_roofline_s_reason_is_what_was_measured(rows: Rows) -> None:
    rows[5] |= {"predicted_tpot_s": 0.0005, "predicted_bound": "launches", "bound": "cpu launch"}
    rows[5] |= {"overhead_tpot_s": 0.00025}
    [found] = roofline_table(rows)
    assert found.factor == pytest.approx(2.0)
    assert (
        found.reason == "at most 25 % of the time is the server's own; the sensors say: cpu launch"
    )
    rows[5] |= {"overhead_tpot_s": 0.000001}
    assert roofline_table(rows)[0].reason.startswith("under 1 % of the time is the server's own")
    rows[5] |= {"predicted_tpot_s": 0.002}
    assert roofline_table(rows)[0].reason.startswith(
        "faster than estimated: the machine was busier"
    )
    rows[5] |= {"least_tpot_s": 0.0009}
    assert roofline_table(rows)[0].reason.startswith("faster than estimated: the assumed shares")
    rows[5] |= {"least_tpot_s": 0.0011}
    assert roofline_table(rows)[0].reason.startswith("below the least time")
    rows[5] |= {"least_tpot_s": None}
    rows[5] |= {"predicted_tpot_s": 0.0005, "bound": None, "overhead_tpot_s": None}
    assert roofline_table(rows)[0].reason == "no sensors and no null model: not known"


def test_each_figure_of_table_4_stands_beside_the_one_that_means_the_same(
    rows: Rows, small: Any
) -> None:
    found = [each for each in paper_figures(rows) if each.model == small.llama]
    assert [(each.figure, each.paper) for each in found] == [
        ("n-gram match (%)", 81.34),
        ("BLEU, best answer", 0.58),
        ("ROUGE, best answer", 0.54),
        ("F1, best answer", 0.73),
        ("response time (s), shortest of our cells", 63.66),
    ]
    assert [each.ours for each in found] == pytest.approx([15.0, 0.5, 0.65, 0.7, 0.5])
    assert "counts n-grams" in found[0].why
    assert {each.model for each in paper_figures(rows)} == {small.llama, small.distil}
    for row in rows:
        row["stands_in_for"] = "mistral-7b" if row["model"] == small.llama else None
    mistral = {each.figure: each for each in paper_figures(rows) if each.model == small.llama}
    assert mistral["exact match (%)"].ours == pytest.approx(10.0)
    assert mistral["ROUGE, best answer"].why.startswith("1.00 is one answer")


def test_a_verified_answer_has_its_price_and_its_interval(rows: Rows) -> None:
    for each in rows:
        if each["status"] == "ok":
            each |= {
                "verified_share": 0.25,
                "verified_share_low": 0.0,
                "verified_share_high": 0.5,
                "verified_by": "quantities",
                "usd_per_verified_answer": 0.002,
                "usd_per_verified_answer_low": 0.001,
            }
    table = make_table(CostRow, cost_table(rows))
    titles = [column.title for column in table.columns]
    share = table.rows[0][titles.index("Verified answers")]
    price = table.rows[0][titles.index("USD per verified answer")]
    assert (share.text, share.note) == ("0.25", "0.00 to 0.50\nby quantities")
    assert (price.text, price.note) == ("0.00200", "at least 0.00100")


@pytest.mark.parametrize(("by", "note"), [("quantities", "by quantities"), (None, "")])
def test_a_verified_share_without_an_interval_has_no_empty_line(
    rows: Rows, by: str | None, note: str
) -> None:
    for each in rows:
        if each["status"] == "ok":
            each |= {"verified_share": 0.25, "verified_by": by}
    table = make_table(CostRow, cost_table(rows))
    titles = [column.title for column in table.columns]
    share = table.rows[0][titles.index("Verified answers")]
    assert (share.text, share.note) == ("0.250", note)
