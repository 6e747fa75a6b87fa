import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from medsweep.config import load_config
from medsweep.errors import ConfigError, UnknownName
from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.sweep.catalog import Catalog
from medsweep.sweep.cell import Cell
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.predict import Lengths, predict_cell
from medsweep.sweep.spec import SweepSpec
from support import make_spec

HOST = HardwareProfile("host", 2, 0, None, 16 * 2**30)
MODEL: dict[str, Any] = {
    "name": "mine-1b",
    "hub_id": "me/mine",
    "revision": "0" * 40,
    "licence": "MIT",
    "template": "llama-3",
    "stop_tokens": ["<|eot_id|>"],
    "context_length": 1024,
    "parameters": 1_000_000_000,
    "layers": 16,
    "hidden_size": 2048,
    "kv_heads": 8,
    "head_dim": 64,
    "vocab_size": 32_000,
}
GPU = {"name": "GPU", "product": "GPU", "memory_gib": 24, "compute_capability": 8.0}


def sweep(name: str, *, layers: int, bandwidth: float) -> SweepSpec:
    """A sweep with a model and a profile of its own, by the same names as any other's."""
    gpu = {**GPU, "bandwidth_gb_per_s": bandwidth, "peak_tflops": {"bfloat16": 100}}
    profile = {"name": "mine", "cpus": 2, "host_memory_gib": 32, "gpus": 1, "accelerator": gpu}
    return make_spec(
        name=name,
        stand_ins=False,
        own_models=[{**MODEL, "layers": layers}],
        own_profiles=[profile],
        serve={"engine": "generate"},
        cells=["mine-1b@mine"],
    )


def planned(spec: SweepSpec) -> Cell:
    [cell] = make_plan(spec, "data", dict.fromkeys(model_names(spec), "r"), HOST).cells
    return cell


@pytest.mark.parametrize("order", list(permutations(("slow", "fast"))))
def test_sweeps_in_one_process_keep_their_own_models_and_hardware(order: tuple[str, str]) -> None:
    specs = {
        "slow": sweep("slow", layers=16, bandwidth=30),
        "fast": sweep("fast", layers=8, bandwidth=3000),
    }
    cells = {name: planned(specs[name]) for name in order}
    assert [cells[name].model.layers for name in ("slow", "fast")] == [16, 8]
    points = {}
    for name in order:
        [points[name]] = predict_cell(specs[name], cells[name], Lengths(60, 160, 100, 10)).points
    # Of the fast one, starting kernels takes longer than reading weights.
    assert (points["slow"].bound, points["fast"].bound) == ("bandwidth", "launches")
    assert points["slow"].tpot_s > 10 * points["fast"].tpot_s
    assert cells["slow"].key != cells["fast"].key


def test_a_sweep_does_not_know_what_another_one_defines() -> None:
    planned(sweep("first", layers=16, bandwidth=30))
    with pytest.raises(ValueError, match="unknown hardware profile 'mine'"):
        make_spec(cells=["distilgpt2@mine"])
    with pytest.raises(ValueError, match="unknown model 'mine-1b'"):
        make_spec(cells=["mine-1b@host"])
    assert "mine" not in PROFILES
    assert "mine-1b" not in MODELS


def test_a_miss_names_the_nearest_and_the_host() -> None:
    profiles = Catalog.of().with_host(HOST).profiles
    with pytest.raises(UnknownName, match=re.escape("did you mean '1xa100-2cpu'?")) as caught:
        profiles["1xa100-2cpus"]
    assert caught.value.known == sorted([*PROFILES, "host"])
    assert profiles["host"] is HOST


WRONG = """\
name: wrong
own_profiles:
  - {name: mine, cpus: 2, host_memory_gib: 8}
cells:
  - distilgpt2@mine
  - distilgpt2@mime
  - distilgpt3@host
models:
  - distilgpt2
  - mistral7b
finetune:
  epochs: 2
  profile: 1xv200-1cpu
prices:
  mine: {usd_per_hour: 1, source: us, date: 2026-01-02}
  yours: {usd_per_hour: 1, source: us, date: 2026-01-02}
load: {points: [{concurrency: 1}]}
"""


def faults(folder: Path, text: str) -> dict[str, tuple[int | None, str]]:
    (folder / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(SweepSpec, folder / "wrong.yaml")
    return {fault.field: (fault.line, fault.problem) for fault in caught.value.faults}


def test_each_unknown_name_is_a_fault_with_a_line_of_its_own(tmp_path: Path) -> None:
    found = faults(tmp_path, WRONG)
    assert {field: line for field, (line, _) in found.items()} == {
        "cells[1]": 6,
        "cells[2]": 7,
        "models[1]": 10,
        "finetune.profile": 13,
        "prices.yours": 16,
    }
    assert "did you mean 'mine'" in found["cells[1]"][1]
    assert found["cells[1]"][1].endswith("; a sweep may define its own in own_profiles")
    assert found["cells[2]"][1].endswith("; a sweep may define its own in own_models")
    assert "did you mean '1xv100-1cpu'" in found["finetune.profile"][1]


def test_an_unknown_profile_of_the_fine_tune_is_told_beside_its_other_faults(
    tmp_path: Path,
) -> None:
    wrong = "  epochs: 0\n  rnk: 4\n  schedule: cosinus\n"
    found = faults(tmp_path, WRONG.replace("  epochs: 2\n", wrong))
    fields = ("finetune.epochs", "finetune.rnk", "finetune.schedule", "finetune.profile")
    assert [found[field][0] for field in fields] == [12, 13, 14, 15]
    assert "did you mean 'rank'" in found["finetune.rnk"][1]
    assert "did you mean 'cosine'" in found["finetune.schedule"][1]
    assert "unknown hardware profile '1xv200-1cpu'" in found["finetune.profile"][1]


def test_a_fault_of_an_own_entry_is_told_once_and_not_for_each_cell_that_names_it(
    tmp_path: Path,
) -> None:
    found = faults(tmp_path, WRONG.replace("cpus: 2", "cpus: 0"))
    assert set(found) == {"own_profiles[0].cpus", "cells[2]", "models[1]"}


def test_two_own_entries_of_one_name_are_a_fault(tmp_path: Path) -> None:
    twice = "  - {name: mine, cpus: 2, host_memory_gib: 8}\n"
    found = faults(tmp_path, WRONG.replace(twice, twice * 2))
    assert found["own_profiles"] == (2, "2 entries are called 'mine'; give each its own name")
