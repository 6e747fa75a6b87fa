from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medsweep.config import load_config
from medsweep.errors import ConfigError
from medsweep.hardware.catalog import GPU_PRICES, PROFILES
from medsweep.hardware.observe import host_profile
from medsweep.hardware.own import OwnProfileSpec
from medsweep.prediction.roofline import datasheet_machine
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.predict import Lengths, predict_cell
from medsweep.sweep.spec import SweepSpec

DOCS = Path(__file__).parents[3] / "docs" / "hardware.md"
L4: dict[str, Any] = {
    "name": "L4",
    "product": "NVIDIA L4",
    "memory_gib": 24,
    "compute_capability": 8.9,
    "bandwidth_gb_per_s": 300,
    "peak_tflops": {"bfloat16": 121},
}
OWN: dict[str, Any] = {
    "name": "1xl4-8cpu",
    "cpus": 8,
    "host_memory_gib": 32,
    "gpus": 1,
    "accelerator": L4,
}


def test_its_figures_are_those_given_in_si_units() -> None:
    found = OwnProfileSpec.model_validate(OWN).profile()
    assert found.accelerator is not None
    assert found.accelerator.memory_bytes == 24 * 2**30
    assert found.gpu_memory_bytes == 22 * 2**30
    assert found.accelerator is not None
    assert found.accelerator.compute_capability == (8, 9)
    assert found.labels == {"medsweep.io/profile": "1xl4-8cpu", "medsweep.io/gpu": "l4"}
    machine = datasheet_machine(found, "bfloat16")
    assert machine is not None
    assert machine.bytes_per_s == pytest.approx(0.8 * 300e9)
    assert machine.flops == pytest.approx(0.5 * 121e12)


def test_an_accelerator_of_the_catalogue_is_named() -> None:
    own = OwnProfileSpec.model_validate(
        {**OWN, "name": "4xa100", "gpus": 4, "accelerator": "a100"}
    ).profile()
    assert own.accelerator is PROFILES["1xa100-1cpu"].accelerator
    assert own.usd_per_hour is None  # the price of its profiles is that of a whole machine


def test_named_accelerators_bring_their_list_price_and_others_have_none() -> None:
    named = {**OWN, "gpus": 2, "accelerator": "h200"}
    own = OwnProfileSpec.model_validate(named).profile()
    assert own.usd_per_hour == pytest.approx(2 * 63.296 / 8)
    assert own.price_source is not None
    assert "p5en.48xlarge, 1 of its 8 GPUs" in own.price_source
    assert own.price_date == "2026-07-20"
    eight = OwnProfileSpec.model_validate({**named, "gpus": 8, "accelerator": "h100"}).profile()
    assert eight.usd_per_hour == pytest.approx(55.04)  # p5.48xlarge
    plain = OwnProfileSpec.model_validate(OWN).profile()
    assert (plain.usd_per_hour, plain.price_source, plain.price_date) == (None, None, None)


@pytest.mark.parametrize(
    ("accelerator", "gpus"),
    [("l4", 2), ("l40s", 4), ("t4", 4), ("a10g", 8), ("h100", 9), ("v10032", 16)],
)
def test_a_machine_with_more_gpus_than_the_listed_ones_has_no_price(
    accelerator: str, gpus: int
) -> None:
    several = {**OWN, "gpus": gpus, "accelerator": accelerator}
    own = OwnProfileSpec.model_validate(several).profile()
    assert (own.usd_per_hour, own.price_date) == (None, None)
    assert own.price_source == (
        f"none: the list price of {accelerator} is not that of a machine with {gpus} of them; "
        "give it in `prices`"
    )
    one = OwnProfileSpec.model_validate({**several, "gpus": 1}).profile()
    assert one.usd_per_hour == GPU_PRICES[accelerator].usd_per_hour


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "host"}, "choose another name"),
        ({"name": "1xv100-1cpu"}, "choose another name"),
        ({"gpus": 0}, "give both `gpus` and `accelerator`"),
        ({"accelerator": None}, "give both `gpus` and `accelerator`"),
        ({"accelerator": "a10"}, "did you mean 'a10g'"),
        ({"accelerator": {**L4, "peak_tflops": {"fp16": 1}}}, "did you mean 'float16'"),
        ({"accelerator": {**L4, "peak_tflops": {"float16": 0}}}, "not above 0"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        OwnProfileSpec.model_validate({**OWN, **changes})


def test_the_example_of_the_docs_is_planned_and_predicted(tmp_path: Path) -> None:
    example = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "own.yaml").write_text(example)
    spec = load_config(SweepSpec, tmp_path / "own.yaml")
    plan = make_plan(spec, "data", dict.fromkeys(model_names(spec), "r"), host_profile())
    found = {cell.name: predict_cell(spec, cell, Lengths(60, 160, 100, 10)) for cell in plan.cells}
    assert set(found) == {"llama-3-8b@1xl4-8cpu", "distilgpt2@clinic-pc"}
    gpu = found["llama-3-8b@1xl4-8cpu"]
    assert gpu.cell.refused is None
    assert len(gpu.points) == 2
    assert gpu.usd is not None
    assert gpu.load_s is not None
    assert gpu.usd == pytest.approx(0.85 * gpu.load_s / 3600)


def test_all_takes_the_nine_and_the_sweep_s_own(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "name: a\ncells: all\nmodels: [distilgpt2]\nload: {points: [{concurrency: 1}]}\n"
        "own_profiles: [{name: mine, cpus: 2, host_memory_gib: 8}]\n"
    )
    spec = load_config(SweepSpec, tmp_path / "all.yaml")
    plan = make_plan(spec, "data", {"distilgpt2": "r"}, host_profile())
    assert {cell.profile.name for cell in plan.cells} == {*PROFILES, "mine"}


def test_a_fault_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: a\ncells: [distilgpt2@mine]\nload: {points: [{concurrency: 1}]}\n"
        "own_profiles:\n  - name: mine\n    cpus: 0\n    host_memory_gib: 8\n"
    )
    with pytest.raises(ConfigError, match=r"line 6: own_profiles\[0\].cpus") as raised:
        load_config(SweepSpec, tmp_path / "a.yaml")
    assert raised.value.docs == "reference/config.md"
