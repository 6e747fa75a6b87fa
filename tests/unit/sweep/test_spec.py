from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from medsweep.config import load_config
from medsweep.errors import ConfigError
from medsweep.hardware.observe import host_profile
from medsweep.report.paper import TABLE_3, TABLE_4
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.spec import SweepSpec
from support import make_spec

SWEEPS = Path(__file__).parents[3] / "jobs" / "sweeps"

WRONG = """\
name: Not Allowed
cells: [paper, distilgpt3@host, distilgpt2@1xv100-3cpu]
finetune:
  rnk: 16
serve:
  engine: genrate
load:
  points:
    - {concurrency: 1, rate: 2}
  repeats: 0
"""


def test_every_sweep_that_ships_is_valid() -> None:
    files = sorted(SWEEPS.glob("*.yaml"))
    names = ["demo", "external", "gpu-vm", "matrix", "own-data", "paper", "paper-search"]
    names += ["small-search", "smollm2-medquad"]
    assert sorted(file.stem for file in files) == names
    for file in files:
        assert load_config(SweepSpec, file).name == file.stem


def test_the_paper_s_sweep_is_the_paper_s() -> None:
    spec = load_config(SweepSpec, SWEEPS / "paper.yaml")
    plan = make_plan(spec, "data", dict.fromkeys(model_names(spec), "r"), host_profile())
    cells = {(cell.model.name, cell.profile.name) for cell in plan.cells}
    assert set(TABLE_3) < cells
    assert {model for model, _ in cells} == {row.model for row in TABLE_4}
    assert {cell.name: cell.refused for cell in plan.cells if cell.refused} == {}, "all of them fit"
    sample, share = spec.dataset.sample, spec.dataset.eval_fraction
    assert sample is not None
    assert (sample - round(sample * share), round(sample * share)) == (1900, 100)
    assert {source.name for source in spec.dataset.sources} == {"medquad", "wikidoc"}
    recipe = spec.finetune
    assert (recipe.max_seq_length, recipe.rank, recipe.alpha, recipe.dropout) == (
        2048,
        16,
        16,
        0.25,
    )
    assert (recipe.epochs, recipe.quantization) == (20, "nf4")
    assert spec.load.points[0].measured_requests == 100, "each question once"


def test_smollm2_uses_the_papers_lora_parameters() -> None:
    recipe = load_config(SweepSpec, SWEEPS / "smollm2-medquad.yaml").finetune
    assert (recipe.rank, recipe.alpha, recipe.dropout) == (16, 16, 0.25)


def test_all_faults_are_listed_with_line_and_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_config(SweepSpec, file)
    lines = {fault.field: fault for fault in caught.value.faults}
    assert lines["name"].line == 1
    assert "did you mean 'distilgpt2'" in lines["cells[1]"].problem
    assert "did you mean '1xv100-2cpu'" in lines["cells[2]"].problem
    assert lines["cells[1]"].line == lines["cells[2]"].line == 2
    assert (lines["finetune.rnk"].line, lines["serve.engine"].line) == (4, 6)
    assert "did you mean 'rank'" in lines["finetune.rnk"].problem
    assert "did you mean 'generate'" in lines["serve.engine"].problem
    assert "exactly one of `concurrency`" in lines["load.points[0]"].problem
    assert lines["load.repeats"].line == 10


def test_load_points_have_the_shapes_of_a_load_test(tmp_path: Path) -> None:
    file = tmp_path / "shapes.yaml"
    file.write_text("""\
name: a
cells: paper
load:
  points:
    - {rate: 8, arrivals: burst, shape: 2}
    - {rate: 8, arrivals: burst, shape: 40}
    - {rate: 8, arrivals: gamma, duration_s: 30, warmup: 16}
    - {due_s: [0, 0.5, 2]}
  objectives: [ttft_p95=500ms, e2e_max=4s]
""")
    load = load_config(SweepSpec, file).load
    names = [point.name for point in load.points]
    assert names[:3] == ["r8-burst2", "r8-burst40", "r8-gamma0.5"]
    assert load.points[3].due_s == (0.0, 0.5, 2.0)
    assert [each.name for each in load.parsed_objectives] == ["ttft_p95=0.5s", "e2e_max=4s"]
    again = SweepSpec.model_validate(load_config(SweepSpec, file).model_dump(mode="json"))
    assert again.load == load


def test_faults_of_load_points_and_objectives_have_lines(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("""\
name: a
cells: paper
load:
  points:
    - {rate: 8, arrivals: bursts}
    - {rate: 8, shape: 2}
    - {due_s: [0, 2, 1]}
    - {concurrency: 2, request: 9}
    - {concurrency: "3"}
  objectives:
    - ttft_p95=500ms
    - tftt_p95=1s
""")
    with pytest.raises(ConfigError) as caught:
        load_config(SweepSpec, file)
    faults = {fault.line: fault for fault in caught.value.faults}
    assert "did you mean 'burst'" in faults[5].problem
    assert "not of constant" in faults[6].problem
    assert "ascending" in faults[7].problem
    assert "did you mean 'requests'" in faults[8].problem
    assert "valid integer" in faults[9].problem
    assert "did you mean 'ttft'" in faults[12].problem


def test_two_load_points_of_one_shape_are_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text(
        "name: a\ncells: paper\nload: {points: [{concurrency: 2}, {concurrency: 2, requests: 9}]}\n"
    )
    with pytest.raises(ConfigError, match="same shape: c2, c2"):
        load_config(SweepSpec, file)


def test_a_price_has_a_day_which_yaml_may_read_as_a_date() -> None:
    price = {"usd_per_hour": 0.5, "source": "contract", "date": datetime.date(2026, 1, 2)}
    assert make_spec(prices={"host": price}).prices["host"].date == "2026-01-02"
    with pytest.raises(ValidationError, match="date"):
        make_spec(prices={"host": {**price, "date": "last week"}})
    with pytest.raises(ValidationError, match="1xv100"):
        make_spec(prices={"1xv200-1cpu": price})


@pytest.mark.parametrize("adapters", ["merge", [], ["live", "live"], ["live", "auto"]])
def test_ways_to_serve_an_adapter_that_do_not_exist(adapters: object) -> None:
    with pytest.raises(ValidationError, match="adapters"):
        make_spec(serve={"adapters": adapters})
