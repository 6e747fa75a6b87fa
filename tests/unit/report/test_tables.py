from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medsweep.metrics.statistics import Interval
from medsweep.report.paper import TABLE_4
from medsweep.report.samples import samples
from medsweep.report.table import make_table
from medsweep.report.tables.decision import decision_table
from medsweep.report.tables.failures import failure_table
from medsweep.report.tables.grouping import without_repeated_answers
from medsweep.report.tables.latency import LatencyRow, latency_table
from medsweep.report.tables.matrix import matrix
from medsweep.report.tables.method import hardware_table, host_table, method
from medsweep.report.tables.paired import base_against_tuned
from medsweep.report.tables.paper_table import paper_table_4
from medsweep.report.tables.quality import QualityFigure, QualityRow, quality_table
from medsweep.report.tables.servers import ServerRow, server_table
from report_reading import Reading, misprints
from report_reading.printed import tables_of

Rows = list[dict[str, Any]]


def test_the_matrix_has_every_state_and_the_lightest_load_point(rows: Rows, small: Any) -> None:
    table = matrix(rows)
    assert table.profiles == ("1xv100-1cpu", "1xa100-1cpu", "host")
    assert table.models == (small.distil, small.llama)
    ran = table.at("1xa100-1cpu", small.llama)
    assert (ran.state, ran.basis, ran.load_point) == ("ok", "emulated", "c1")
    assert ran.ttft is not None
    assert ran.ttft.mean == pytest.approx((0.04 + 0.06) / 2)  # c1 alone, without the base model
    assert ran.token_f1 == Interval(*(pytest.approx(each) for each in (0.4, 0.38, 0.42)))
    assert ran.output_tokens_per_s == pytest.approx(80 / 0.8)  # c4 is the faster point
    refused = table.at("1xv100-1cpu", small.llama)
    assert (refused.state, refused.basis, refused.reason) == ("refused", None, small.refusal)
    assert table.at("1xa100-1cpu", small.distil).state == "failed"
    assert table.at("host", small.llama).state == "not in sweep"
    assert [table.count(state) for state in ("ok", "failed", "refused")] == [3, 1, 1]


def test_one_failed_load_point_makes_a_failed_cell(rows: Rows, small: Any) -> None:
    rows[2] |= {"status": "failed", "reason": "too many timeouts"}
    cell = matrix(rows).at("1xa100-1cpu", small.llama)
    assert (cell.state, cell.reason) == ("failed", "too many timeouts")


def test_a_name_that_the_matrix_lacks_is_an_error(rows: Rows) -> None:
    with pytest.raises(KeyError):
        matrix(rows).at("1xv100-1cpu", "llama-3-8b")


def test_latency_is_the_mean_over_repeats_with_their_interval(rows: Rows, small: Any) -> None:
    table = latency_table(rows)
    found = [(row.model, row.profile, row.load_point, row.variant) for row in table]
    assert found == [
        (small.distil, "1xv100-1cpu", "c1", "adapter"),
        (small.distil, "host", "c1", "adapter"),
        (small.llama, "1xa100-1cpu", "c1", "adapter"),
        (small.llama, "1xa100-1cpu", "c1", "base"),
        (small.llama, "1xa100-1cpu", "c4", "adapter"),
    ]
    row = table[2]
    assert row.repeats == 2
    assert row.ttft is not None
    assert (row.ttft.low, row.ttft.high) == (0.01, 0.09)
    assert row.ttft.mean == pytest.approx(0.05)
    assert row.e2e is not None
    assert row.e2e.mean == pytest.approx(0.5)
    assert row.requests_per_s == pytest.approx((1 / 0.4 + 1 / 0.6) / 2)
    assert (row.sent, row.failed) == (128, 2)
    assert (row.client_ttft_bias_s, row.overhead_ttft_s) == (0.0004, 0.003)
    assert row.ttft_p90_s is None  # missing is not 0
    assert table[4].ttft_p90_s == 0.123


def test_figures_that_are_client_error_are_marked_beside_the_load_point(rows: Rows) -> None:
    marked = ["ttft_mean_s", "ttft_mean_s, e2e_mean_s", None]
    made = [{**rows[0], "client_error_figures": names} for names in marked]
    [row] = latency_table(made)
    assert row.client_note == "over a tenth is client error: ttft_mean_s, e2e_mean_s"
    [row] = latency_table([{**made[2], "client_limited": True}])
    assert row.client_note == "client-limited"


def test_tpot_has_no_interval_where_the_rows_have_none(rows: Rows) -> None:
    assert latency_table(rows)[2].tpot == Interval(pytest.approx(0.005), None, None, (0.004, 0.006))


def test_of_two_repeats_both_values_are_shown(rows: Rows) -> None:
    row = latency_table(rows)[2]
    table = make_table(LatencyRow, [row])
    cells = {each.title: cell for each, cell in zip(table.columns, table.rows[0], strict=True)}
    assert (cells["TPOT mean (ms)"].text, cells["TPOT mean (ms)"].note) == (
        "5.00",
        "4.00 and 6.00",
    )
    assert cells["TTFT mean (ms)"].note == "10 to 90"  # a row that has an interval


def test_quality_counts_each_cell_once_and_never_mixes_bases(rows: Rows, small: Any) -> None:
    second = dict(rows[0], profile="2xa100-4cpu", key="another", token_f1=0.5, token_f1_max=0.95)
    table = quality_table([*rows, second])
    assert [(row.model, row.variant, row.basis, row.cells) for row in table] == [
        (small.distil, "adapter", "observed", 1),
        (small.distil, "adapter", "emulated", 1),
        (small.llama, "adapter", "emulated", 2),
        (small.llama, "base", "emulated", 1),
    ]
    figure = table[2].figures["token_f1"]
    assert figure.mean == pytest.approx((0.4 + 0.5) / 2)
    assert (figure.low, figure.high) == (pytest.approx(0.38), pytest.approx(0.42))
    assert figure.max == 0.95
    assert table[2].questions == 6


def test_rouge_of_other_letters_carries_a_warning(rows: Rows) -> None:
    [plain, *_] = make_table(QualityRow, quality_table(rows)).rows
    assert not any("says nothing" in cell.note for cell in plain)
    for row in rows:
        row["beyond_rouge_share"] = 0.5
    table = make_table(QualityRow, quality_table(rows))
    warned = [
        column.title
        for column, cell in zip(table.columns, table.rows[0], strict=True)
        if "says nothing about 50 % of the answers" in cell.note
    ]
    assert warned == [title for title in ("ROUGE-1", "ROUGE-2", "ROUGE-L") if title in warned]
    assert warned
    alone = {"rouge1": QualityFigure(0.5, None, None, None)}
    table = make_table(QualityRow, [replace(quality_table(rows)[0], figures=alone)])
    [note] = [cell.note for cell in table.rows[0] if "says nothing" in cell.note]
    assert note == "says nothing about 50 % of the answers: not in letters a to z"


def test_quality_is_shown_without_leaked_questions_where_there_are_some(rows: Rows) -> None:
    for row in rows:
        row |= {"leaked_questions": 0, "token_f1_not_leaked": 0.123}
    assert all(each.figures["token_f1"].not_leaked is None for each in quality_table(rows))
    for row in rows:
        row["leaked_questions"] = 3
    first, *_ = quality_table(rows)
    without = first.figures["token_f1"].not_leaked
    assert (first.leaked, without) == (3, Interval(pytest.approx(0.123), None, None))
    notes = [cell.note for cell in make_table(QualityRow, [first]).rows[0]]
    assert any("0.123 without leaked questions" in note for note in notes)
    for row in rows:
        row |= {"token_f1_not_leaked_low": 0.1, "token_f1_not_leaked_high": 0.15}
    notes = [cell.note for cell in make_table(QualityRow, quality_table(rows)[:1]).rows[0]]
    assert any("0.123 (0.100 to 0.150) without leaked questions" in note for note in notes)


def test_quality_is_told_where_most_questions_were_asked(rows: Rows, small: Any) -> None:
    busy = [
        dict(rows[2], questions=30, token_f1=f1, token_f1_max=f1, repeat=repeat)
        for repeat, f1 in ((1, 0.2), (2, 0.3))
    ]
    mixed = [*(row for row in rows if row["load_point"] != "c4"), *busy]
    which = (small.llama, "1xa100-1cpu")
    [found] = [
        row for row in quality_table(mixed) if (row.model, row.variant) == (which[0], "adapter")
    ]
    figure = found.figures["token_f1"]
    assert (figure.mean, figure.max, found.questions) == (pytest.approx(0.25), 0.3, 30)
    cell = matrix(mixed).at(which[1], which[0])
    assert cell.token_f1 is not None
    assert (cell.token_f1.mean, cell.load_point) == (pytest.approx(0.25), "c1")
    [decided] = [row for row in decision_table(mixed) if (row.model, row.profile) == which]
    assert decided.token_f1 is not None
    assert decided.token_f1.mean == pytest.approx(0.25)


def test_an_ungraded_figure_is_absent(rows: Rows) -> None:
    for row in rows:
        row["bleu"] = None
    assert all("bleu" not in row.figures for row in quality_table(rows))


def test_the_paper_s_table_keeps_its_figures_and_ours_keep_their_names(
    rows: Rows, small: Any
) -> None:
    table = paper_table_4(rows)
    papers = [row for row in table if row.source == "paper"]
    ours = [row for row in table if row.source != "paper"]
    assert [row.model for row in papers] == [result.model for result in TABLE_4]
    assert [row.model for row in ours] == [small.llama, small.distil, small.distil]
    assert all(row.stands_in_for == row.model.removeprefix("standin-") for row in ours)
    place = table.index(ours[0])
    assert table[place - 1].model == "llama-3-8b"
    assert ours[0].exact_match_percent == pytest.approx(10)
    assert ours[0].ngram_match_percent == pytest.approx(15)
    assert ours[0].f1_max == pytest.approx(0.7)
    assert (ours[0].response_low_s, ours[0].response_high_s) == (pytest.approx(0.5), 0.8)


def test_the_method_says_whether_batches_of_cells_can_be_compared(rows: Rows) -> None:
    assert method(rows).batch_drift is None
    for place, row in enumerate(rows):
        row["batch"] = f"2026-01-0{1 + place % 2}"
    said = method(rows).batch_drift
    assert said is not None
    assert said.startswith("drift between 2 batches of cells: ")


def test_failures_come_with_their_reason_and_kinds(rows: Rows, small: Any) -> None:
    again = dict(rows[-1], repeat=2, failed_by_kind={"timeout": 1, "http": 2})
    failed, refused = failure_table([*rows, again])
    assert (failed.model, failed.reason, failed.rows) == (small.distil, small.failure, 2)
    assert failed.failed_by_kind == {"timeout": 4, "http": 2}
    assert (refused.profile, refused.status, refused.reason) == (
        "1xv100-1cpu",
        "refused",
        small.refusal,
    )


def test_quality_is_said_once_where_a_model_was_observed_too() -> None:
    rows = [
        {"model": model, "variant": variant, "basis": basis, "status": status}
        for model, variant, basis, status in (
            ("a", "adapter", "observed", "ok"),
            ("a", "adapter", "emulated", "ok"),
            ("a", "base", "emulated", "ok"),
            ("b", "adapter", "emulated", "ok"),
            ("c", "adapter", "observed", "failed"),
            ("c", "adapter", "emulated", "ok"),
        )
    ]
    assert without_repeated_answers(rows) == [rows[0], *rows[2:]]


def test_the_method_says_what_was_asked_and_what_was_given(rows: Rows) -> None:
    rows[0]["versions"] = '{"torch": "2.12"}'
    found = method(rows)
    assert found.versions == {"medsweep": "0.1", "torch": "2.12 and 2.11"}
    assert (found.repeats, found.dataset_sha256, found.git_commits) == (2, ("d" * 64,), ("abc123",))
    assert found.client_ttft_bias_s == (0.0004, 0.0004)
    assert found.client_itl_bias_s is None
    assert [(host.name, host.cpu_model, host.rows) for host in host_table(rows)] == [
        ("laptop", "A CPU", 6)
    ]
    cpus = hardware_table(rows)[0]
    assert (cpus.profile, cpus.cpus_asked, cpus.cpus_given) == ("1xv100-1cpu", 1, (1,))
    assert cpus.accelerator_asked == "1 \N{MULTIPLICATION SIGN} V100"
    assert cpus.device_given == ("A CPU",)
    assert (cpus.dtype_asked, cpus.dtype_given) == (("float16",), ("float32",))


def test_servers_that_were_already_there_have_a_table_of_their_own(rows: Rows) -> None:
    assert server_table(rows) == []
    told = {"server_queue_max": 3.0, "server_kv_use_max": 0.5, "server_preemptions": 2.0}
    server = {
        **rows[0],
        "profile": "ward",
        "server_url": "http://h/v1",
        "server_software": "vllm 0.32.0",
        "served_model": "tuned",
        "hardware": "1xa100-1cpu",
        "telemetry_missing": '{"server": "no gauge"}',
    }
    rows += [server | told, server | told | {"server_queue_max": 7.0, "telemetry_missing": None}]
    (ward,) = server_table(rows)
    assert (ward.server, ward.url, ward.software) == ("ward", "http://h/v1", "vllm 0.32.0")
    assert (ward.served, ward.hardware) == (("tuned",), "1xa100-1cpu")
    assert (ward.waiting, ward.kv_use, ward.preemptions) == (7.0, 0.5, 4)
    assert (ward.running, ward.why) == (None, "no gauge")
    shown = make_table(ServerRow, [ward, replace(ward, why=None)])
    assert [cells[-1].text for cells in shown.rows] == ["no gauge", "nothing"]
    # Nobody observed its machine.
    assert "ward" not in [row.profile for row in hardware_table(rows)]
    assert [(host.name, host.rows) for host in host_table(rows)] == [("laptop", 6)]


def test_no_rows_make_empty_tables() -> None:
    assert matrix([]).cells == ()
    assert latency_table([]) == quality_table([]) == failure_table([]) == []
    assert base_against_tuned([], {}) == host_table([]) == hardware_table([]) == []
    assert method([]).repeats == 0


def test_samples_flag_what_neither_text_mentions(rows: Rows, responses: dict[str, Rows]) -> None:
    for answers in responses.values():
        for answer in answers:
            answer["answer"] = "Rest, and take Aspirin."
    found = [answer for sample in samples(rows, responses) for answer in sample.answers]
    assert found
    assert {answer.unsupported for answer in found} == {("Aspirin",)}


def test_the_client_s_part_is_that_of_all_repeats(rows: Rows) -> None:
    repeats = [
        {**rows[0], "repeat": 1, "client_ttft_bias_s": 0.001, "overhead_ttft_s": 0.002},
        {**rows[0], "repeat": 2, "client_ttft_bias_s": -0.004, "overhead_ttft_s": 0.006},
    ]
    [row] = latency_table(repeats)
    assert (row.client_ttft_bias_s, row.overhead_ttft_s) == (-0.004, pytest.approx(0.004))
    table = make_table(LatencyRow, [row])
    cells = {each.title: cell for each, cell in zip(table.columns, table.rows[0], strict=True)}
    assert cells["Client bias of TTFT (ms)"].text == "< 5"  # no time is negative
    assert method(repeats).facts[6][1].text == "at most 4.00 ms"


def test_the_mean_is_over_deployments_as_its_interval_is(rows: Rows) -> None:
    repeats = [
        {**rows[0], "deployment": deployment, "e2e_mean_s": e2e_s,
         "e2e_mean_low_s": None, "e2e_mean_high_s": None}
        for deployment, e2e_s in ((1, 1.0), (1, 3.0), (2, 6.0))
    ]  # fmt: skip
    [row] = latency_table(repeats)
    assert row.e2e == Interval(4.0, None, None, (2.0, 6.0))


def test_failures_are_those_of_the_rows(reported: Path) -> None:
    rows = tables_of(reported)["failures"]
    assert len(rows) == 2
    assert not misprints(Reading(reported), "failures", rows)
