from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from made_rows import answers, row
from medsweep.errors import InputError
from medsweep.results.answer_groups import ANSWER_SHARES
from medsweep.results.object_store import RemoteStore
from medsweep.results.reader import Results
from medsweep.results.schema import BENCHMARK, REQUESTS, RESPONSES
from medsweep.results.store import write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [row(key="one"), row(key="two", profile="q", status="failed", reason="no memory")]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    write_rows(tmp_path / "cells/one/responses.parquet", RESPONSES, answers([0.5, 0.6]))
    return tmp_path


def test_a_folder_and_its_file_are_the_same_set(folder: Path) -> None:
    for path in (folder, folder / "benchmark.parquet"):
        found = Results.open(path)
        assert list(found.by_load_point()) == [("m", "p", "adapter", "c2")]
        assert list(found.graded()) == [("m", "p", "adapter")]
        assert len(found.graded()["m", "p", "adapter"]) == 2
        assert found.not_measured() == {("m", "q"): "failed: no memory"}


def test_a_file_alone_has_no_answers(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "alone" / "results.parquet"
    moved.parent.mkdir()
    (folder / "benchmark.parquet").rename(moved)
    assert Results.open(moved).graded() == {}


def test_a_merged_model_is_told_from_its_live_adapter_where_both_were_measured(
    tmp_path: Path,
) -> None:
    both = [row(key="one", adapters="live"), row(key="two", adapters="merged")]
    alone = row(key="three", adapters="merged", profile="q")
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [*both, alone])
    write_rows(tmp_path / "cells/two/responses.parquet", RESPONSES, answers([0.5, 0.6]))
    found = Results.open(tmp_path)
    assert [each["model"] for each in found.rows] == ["m", "m (merged)", "m"]
    assert list(found.graded()) == [("m (merged)", "p", "adapter")]


def test_what_is_not_a_result_set_is_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no benchmark\.parquet there"):
        Results.open(tmp_path)
    file = tmp_path / "benchmark.parquet"
    file.write_text("not parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        Results.open(file)
    write_rows(file, RESPONSES, answers([0.5]))
    with pytest.raises(InputError, match="no column model, profile, status"):
        Results.open(file)


def test_results_of_an_earlier_version_are_read_with_today_s_names(tmp_path: Path) -> None:
    old = pa.table(
        {
            **{name: ["x"] for name in ("key", "model", "profile", "variant", "load_point")},
            "status": ["ok"],
            "correct_share": [0.25],
            "usd_per_1000_correct_answers": [2.0],
        }
    )
    pq.write_table(old, tmp_path / "benchmark.parquet")
    responses = pa.table(
        {"question_id": ["q"], "variant": ["x"], "load_point": ["x"], "token_f1": [0.5]}
    )
    (tmp_path / "cells" / "x").mkdir(parents=True)
    pq.write_table(responses, tmp_path / "cells" / "x" / "responses.parquet")
    results = Results.open(tmp_path)
    [row] = results.rows
    assert row["half_f1_share"] == 0.25
    assert "correct_share" not in row
    assert row["token_f1_ceiling"] is None
    [score] = results.question_scores()["x"]
    assert (score["token_f1"], score["quantity_agreement"]) == (0.5, None)
    assert [score[name] for name in ANSWER_SHARES] == [None] * 3


def test_questions_have_shares_of_their_answers(tmp_path: Path) -> None:
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [row(key="one")])
    graded = [
        {"quantity_agreement": 1.0, "consistency": 1.0, "finish_reason": "stop", "refusal": False},
        {"quantity_agreement": 1.0, "consistency": 0.0, "finish_reason": "length"},
        {"quantity_agreement": 0.5, "consistency": 1.0, "finish_reason": "stop", "refusal": True},
        {"quantity_agreement": 1.0, "consistency": 1.0, "finish_reason": "stop", "refusal": True},
    ]
    said = [{**answer, "question_id": "dose"} for answer in graded]
    said += [{"consistency": 1.0, "question_id": "no dose"}]
    contradicted = {"quantity_agreement": 1.0, "consistency": 1.0, "claim_consistency": 0.8}
    said += [{**contradicted, "question_id": "contradicted"}]
    place = {"variant": "base", "load_point": "c1", "repeat": 1, "index": 0}
    path = tmp_path / "cells" / "one" / "responses.parquet"
    write_rows(path, RESPONSES, [place | answer for answer in said])
    scores = {each["question_id"]: each for each in Results.open(tmp_path).question_scores()["one"]}
    assert {name: scores["dose"][name] for name in ANSWER_SHARES} == {
        "verified": 0.5,
        "truncated": 0.25,
        "refused": pytest.approx(2 / 3),
    }
    assert [scores["no dose"][name] for name in ANSWER_SHARES] == [None] * 3
    assert scores["contradicted"]["verified"] == 0.0
    assert "finish_reason" not in scores["dose"]


def test_a_key_that_leaves_the_folder_is_not_followed(folder: Path) -> None:
    inner = folder / "inner"
    write_rows(inner / "benchmark.parquet", BENCHMARK, [row(key="../../cells/one")])
    assert Results.open(inner).answers == {}
    assert Results.open(inner).question_scores() == {}


def test_requests_and_responses_name_their_cell(folder: Path) -> None:
    sent = {"load_point": "c2", "repeat": 1, "index": 0, "phase": "measure", "status": "ok"}
    write_rows(folder / "cells/one/requests.parquet", REQUESTS, [sent])
    results = Results.open(folder)
    [request] = results.requests()
    assert (request["key"], request["model"], request["profile"]) == ("one", "m", "p")
    assert request["status"] == "ok"
    assert [each["key"] for each in results.responses()] == ["one", "one"]


def test_the_requests_of_a_load_test_are_beside_its_rows(tmp_path: Path) -> None:
    bench = row(key="bench", profile="endpoint", variant=None)
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [bench])
    write_rows(tmp_path / "requests.parquet", REQUESTS, [{"index": 0}, {"index": 1}])
    results = Results.open(tmp_path)
    assert [each["key"] for each in results.requests()] == ["bench", "bench"]
    assert results.responses() == []
    assert results.training == []
    assert results.spec == {}


def test_an_object_store_is_read_cell_by_cell(folder: Path) -> None:
    store = RemoteStore("memory://results/demo")
    (folder / "sweep.yaml").write_text("name: demo\n")
    for name in ("benchmark.parquet", "sweep.yaml"):
        store.push_file(folder / name, name)
    store.push(folder / "cells" / "one", "cells/one")
    results = Results.open("memory://results/demo")
    assert len(results.graded()["m", "p", "adapter"]) == 2
    assert results.spec == {"name": "demo"}
    assert results.training == []
    with pytest.raises(InputError, match=r"no benchmark\.parquet there"):
        Results.open("memory://results/other")


def test_columns_that_an_older_file_lacks_are_null(tmp_path: Path) -> None:
    old = dict.fromkeys(("model", "profile", "variant", "load_point", "status"), "x")
    pq.write_table(pa.Table.from_pylist([old]), tmp_path / "benchmark.parquet")
    [found] = Results.open(tmp_path).rows
    assert found["model"] == "x"
    assert found["bound"] is None


def test_escape_sequences_of_others_reach_no_terminal(tmp_path: Path) -> None:
    evil = row(model="m\x1b[2J\nmedsweep: all is well", status="failed", reason="one\ntwo\x07")
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, [evil])
    [found] = Results.open(tmp_path).rows
    assert found["model"] == r"m\x1b[2J\nmedsweep: all is well"
    assert found["reason"] == "one\ntwo\\x07"
