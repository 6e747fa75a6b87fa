"""The Python interface: its names, its tables, its faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import medsweep as ms
from medsweep.api.table import Table
from medsweep.errors import ConfigError, InputError, UnknownName
from medsweep.results.schema import BENCHMARK
from medsweep.results.store import write_rows
from tiny_entailment import build_entailment

NAMES = [
    "MedSweepError",
    "Results",
    "bench",
    "compare",
    "load_sweep",
    "meter",
    "open",
    "plan",
    "run",
    "score",
]


def test_the_public_names_are_these() -> None:
    assert ms.__all__ == NAMES
    assert all(callable(getattr(ms, name)) for name in NAMES)
    assert dir(ms) == [*sorted(["__version__", *NAMES])]
    with pytest.raises(AttributeError, match="no attribute 'serve'"):
        ms.serve  # noqa: B018


def test_the_import_loads_nothing_else() -> None:
    code = (
        "import sys, medsweep; "
        "print(*sorted(name for name in sys.modules if name.startswith('medsweep')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["medsweep", "medsweep.version"]


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: small\nstand_ins: true\ncells: [distilgpt2@1xv100-1cpu]\n"
        "load: {points: [{concurrency: 2}]}\n"
    )
    return file


def test_keywords_override_fields(sweep_file: Path) -> None:
    sweep = ms.load_sweep(sweep_file, load__repeats=5, finetune__targets=["c_attn"], name="other")
    assert (sweep.load.repeats, sweep.name, sweep.finetune.targets) == (5, "other", ["c_attn"])
    with pytest.raises(ConfigError, match=r"load\.repeats"):
        ms.load_sweep(sweep_file, load__repeats=0)


def test_a_plan_has_a_row_for_each_cell_and_load_point(sweep_file: Path) -> None:
    plan = ms.plan(ms.load_sweep(sweep_file))
    (row,) = plan
    assert (row["cell"], row["status"]) == ("standin-distilgpt2@1xv100-1cpu", "ok")
    assert row["load_point"] == "c2"
    assert row["ttft_mean_s"] > 0
    assert "standin-distilgpt2" in repr(plan)
    assert "<table" in plan._repr_html_()


def test_the_meter_takes_a_figure_of_one_s_own() -> None:
    references = [f"Fever is treated with {place} mg of Aspirin." for place in range(2, 42)]
    table = ms.meter(references, grade=lambda answer, _: {"length": float(len(answer) < 25)})
    assert {row["figure"] for row in table} == {"length"}
    rows = {row["kind"]: row for row in ms.meter(references) if row["figure"] == "consistency"}
    assert rows["dose x 10"]["share"] == 1.0
    with pytest.raises(InputError, match="no references"):
        ms.meter([])
    with pytest.raises(InputError, match="40 references and 1 questions"):
        ms.meter(references, ["What is it?"])


def test_the_meter_takes_a_lexicon_of_one_s_own(tmp_path: Path) -> None:
    terms = tmp_path / "terms.csv"
    terms.write_text("concept,term\n1,zorbitis\n")
    references = [f"There is Zorbitis {place}. Aspirin helps." for place in range(40)]

    def sees(**given: Path) -> float:
        rows = ms.meter(references, **given)
        [row] = [
            row for row in rows if (row["figure"], row["kind"]) == ("concept_f1", "negation added")
        ]
        return float(row["share"])

    assert (sees(), sees(lexicon=terms)) == (0, 1), "ICD-10-CM has no such name"
    with pytest.raises(InputError, match="give it alone"):
        ms.meter(references, lexicon=terms, grade=lambda *_: {"blind": 1.0})


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_meter_takes_a_model_for_entailment(tmp_path: Path) -> None:
    references = [f"Rest number {place} is good. Sleep well." for place in range(40)]
    rows = ms.meter(references, entailment=build_entailment(tmp_path / "nli"))
    [row] = [
        row
        for row in rows
        if (row["figure"], row["kind"]) == ("claim_consistency", "negation added")
    ]
    # The model takes each "not" for a contradiction.
    assert (row["seen"], row["tried"]) == (40, 40)


def test_scores_are_those_of_known_answers() -> None:
    figures = {row["figure"]: row for row in ms.score(["a fever", ""], ["a fever", "a cough"])}
    assert figures["exact_match"]["mean"] == 0.5
    assert figures["token_f1"]["max"] == 1.0
    averaged = ms.score(["x", "fever"], ["fever", "fever"], ids=["q", "q"])
    assert {row["low"] for row in averaged} == {None}, "one question has no interval"


def test_scores_take_a_lexicon_of_one_s_own(tmp_path: Path) -> None:
    terms = tmp_path / "drugs.csv"
    terms.write_text("concept,term\nC1,aspirin\nC1,acetylsalicylic acid\n")
    texts = ["Take acetylsalicylic acid."], ["Take aspirin."]
    [concepts] = [row for row in ms.score(*texts, lexicon=terms) if row["figure"] == "concept_f1"]
    assert concepts["mean"] == 1.0
    assert "concept_f1" not in {row["figure"] for row in ms.score(*texts)}, "ICD-10-CM has no drug"
    with pytest.raises(InputError, match="no-such"):
        ms.score(*texts, lexicon=tmp_path / "no-such.csv")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_scores_take_a_model_for_entailment(tmp_path: Path) -> None:
    texts = ["Drink water.", "Do not rest."], ["Rest helps.", "Rest helps."]
    model = build_entailment(tmp_path / "nli")
    figures = {row["figure"]: row for row in ms.score(*texts, entailment=model)}
    assert figures["claim_recall"]["mean"] == 1 / 2
    assert figures["claim_consistency"]["mean"] == 1 / 2, "both sentences are contradicted"
    with pytest.raises(InputError, match="no such folder"):
        ms.score(*texts, entailment=tmp_path / "no-such")


@pytest.mark.parametrize(
    ("predictions", "references", "ids"),
    [(["a"], [], None), (["a"], ["b"], ["1", "2"]), ([], [], None)],
)
def test_lists_that_do_not_belong_together_are_refused(
    predictions: list[str], references: list[str], ids: list[str] | None
) -> None:
    with pytest.raises(InputError):
        ms.score(predictions, references, ids=ids)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    row = {
        "model": "m",
        "profile": "host",
        "variant": "adapter",
        "load_point": "c1",
        "key": "k",
        "basis": "observed",
        "status": "ok",
        "requests_per_s": 2.0,
        "rate_rps": 2.0,
        "arrivals": "poisson",
    }
    rows = [{**row, "repeat": repeat, "ttft_mean_s": 0.1 * repeat} for repeat in (1, 2, 3)]
    write_rows(tmp_path / "benchmark.parquet", BENCHMARK, rows)
    return tmp_path


def test_results_become_data_frames_and_recommendations(results: Path) -> None:
    opened = ms.open(results)
    assert list(opened.to_pandas()["ttft_mean_s"]) == pytest.approx([0.1, 0.2, 0.3])
    assert opened.requests().empty
    (row,) = opened.recommend(max_mean_ttft=5.0, rate=3)
    assert (row["configuration"], row["replicas"]) == ("m@host", 2)
    assert row["ttft_mean_s"] == pytest.approx(0.2)
    with pytest.raises(UnknownName, match="max_mean_ttft"):
        opened.recommend(max_mean_tfft=5.0)


def test_results_that_are_not_there_are_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="benchmark"):
        ms.open(tmp_path)


def test_comparing_a_set_with_itself_finds_nothing(results: Path) -> None:
    comparison = ms.compare(results, ms.open(results))
    assert len(comparison) > 0
    assert not any(row["verdict"] in ("better", "worse") for row in comparison)
    assert len(comparison.regressions) == 0
    assert not comparison.lost


def test_a_load_test_wants_a_load() -> None:
    with pytest.raises(InputError, match="concurrency"):
        ms.bench("http://127.0.0.1:9/v1", "m")


def test_an_empty_table_prints() -> None:
    assert repr(Table([])) == "no rows"
    table = Table([{"name": "a<b", "share": 0.12345678}, {"name": "c", "share": None}])
    assert repr(table) == "name     share\n a<b  0.123457\n   c          "
    assert "<td>a&lt;b</td><td>0.123457</td>" in table._repr_html_()
