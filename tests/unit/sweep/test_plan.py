from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from medsweep.hardware.catalog import PROFILES
from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS, PAPER_CELLS
from medsweep.serving.engines import compatibility
from medsweep.sweep import plan as module
from medsweep.sweep.plan import Plan, make_plan
from medsweep.sweep.spec import SweepSpec
from support import make_spec

HOST = HardwareProfile("host", 2, 0, None, 16 * 2**30)
REVISIONS = dict.fromkeys(MODELS, "r1")


def plan(spec: SweepSpec, dataset: str = "data") -> Plan:
    return make_plan(spec, dataset, REVISIONS, HOST)


def test_paper_cells_are_the_twelve_of_table_3_as_stand_ins() -> None:
    cells = plan(make_spec()).cells
    assert len(cells) == 12
    assert {(cell.model.stands_in_for, cell.profile.name) for cell in cells} == set(PAPER_CELLS)
    assert all(cell.model.name.startswith("standin-") for cell in cells)


def test_all_cells_are_the_full_product() -> None:
    cells = plan(make_spec(cells="all", stand_ins=False)).cells
    assert len(cells) == 5 * 9
    refused = {cell.name: cell.refused for cell in cells if cell.refused}
    # Seven billion float32 weights and more do not fit one V100 of 16 GiB.
    assert "GiB" in refused["gemma-1.1-7b@1xv100-1cpu"]
    assert "distilgpt2@1xv100-1cpu" not in refused


def test_a_dtype_that_the_gpu_lacks_is_refused_with_the_reason() -> None:
    spec = make_spec(cells=["distilgpt2@1xv100-1cpu"], serve={"dtype": "bfloat16"})
    (cell,) = plan(spec).cells
    assert cell.refused is not None
    assert "bfloat16" in cell.refused
    assert plan(spec).adapters == {}


def test_cells_named_twice_are_planned_once() -> None:
    cells = plan(make_spec(cells=["paper", "distilgpt2@1xv100-1cpu", "distilgpt2@host"])).cells
    assert len(cells) == 13
    assert [cell.name for cell in cells if cell.profile.name == "host"] == [
        "standin-distilgpt2@host"
    ]


def test_keys_are_stable_and_differ_between_cells() -> None:
    first, second = plan(make_spec()), plan(make_spec())
    keys = [cell.key for cell in first.cells]
    assert keys == [cell.key for cell in second.cells]
    assert len(set(keys)) == 12


def test_a_key_changes_with_everything_that_the_result_depends_on() -> None:
    base = {cell.name: cell.key for cell in plan(make_spec()).cells}
    changed = [
        plan(make_spec(seed=1)),
        plan(make_spec(finetune={"rank": 8})),
        plan(make_spec(serve={"max_batch_size": 2})),
        plan(make_spec(load={"points": [{"concurrency": 2}], "repeats": 3})),
        plan(make_spec(), dataset="other"),
        make_plan(make_spec(), "data", dict.fromkeys(REVISIONS, "new"), HOST),
    ]
    for other in changed:
        assert all(base[cell.name] != cell.key for cell in other.cells)


def test_keys_of_one_shard_are_those_from_before_there_were_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[str] = []
    true_key = module._key

    def key(parts: Mapping[str, Any]) -> str:
        hashed.append(json.dumps(parts))
        return true_key(parts)

    monkeypatch.setattr(module, "_key", key)
    load = {"points": [{"concurrency": 2}], "repeats": 3}
    base = {cell.name: cell.key for cell in plan(make_spec(load=load)).cells}
    assert not any("shards" in parts for parts in hashed)
    same = plan(make_spec(load={**load, "shards": 1}))
    assert base == {cell.name: cell.key for cell in same.cells}
    four = plan(make_spec(load={**load, "shards": 4}))
    assert all(base[cell.name] != cell.key for cell in four.cells)
    assert plan(make_spec(load=load)).adapters.keys() == four.adapters.keys()


def test_the_same_adapter_goes_to_every_profile_and_load_does_not_change_it() -> None:
    adapters = plan(make_spec()).adapters
    assert len(adapters) == 3
    longer = plan(make_spec(load={"points": [{"concurrency": 9}], "repeats": 5}))
    assert set(longer.adapters) == set(adapters)


def test_order_is_shuffled_by_seed() -> None:
    orders = [[cell.name for cell in plan(make_spec(seed=seed)).cells] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_fine_tuning_takes_the_profile_with_most_memory_or_the_one_given() -> None:
    where = {each.model.name: each.profile.name for each in plan(make_spec()).adapters.values()}
    assert where["standin-llama-3-8b"] == "2xa100-4cpu"
    given = plan(make_spec(finetune={"profile": "1xv100-1cpu"}))
    assert {each.profile.name for each in given.adapters.values()} == {"1xv100-1cpu"}
    host = plan(make_spec(finetune={"profile": "host"}))
    assert {each.profile for each in host.adapters.values()} == {HOST}


def test_host_is_what_it_is_given() -> None:
    other = replace(HOST, cpus=64)
    (cell,) = make_plan(make_spec(cells=["distilgpt2@host"]), "data", REVISIONS, other).cells
    assert cell.profile.cpus == 64
    assert "host" not in PROFILES


def test_a_model_whose_weights_cannot_be_had_is_refused_until_they_can() -> None:
    spec = make_spec(cells=["gemma-1.1-7b@2xa100-4cpu", "distilgpt2@host"])
    usable = make_plan(spec, "data", REVISIONS, HOST)
    stuck = make_plan(spec, "data", REVISIONS, HOST, {"standin-gemma-1.1-7b": "set HF_TOKEN"})
    before = {cell.name: cell for cell in usable.cells}
    for cell in stuck.cells:
        gated = cell.model.name == "standin-gemma-1.1-7b"
        assert cell.refused == ("set HF_TOKEN" if gated else None)
        # A refused cell is done: with the weights it has to be another one.
        assert (cell.key != before[cell.name].key) == gated
    assert len(stuck.adapters) == len(usable.adapters) - 1


def test_a_price_of_ones_own_changes_the_cost_and_not_the_key() -> None:
    price = {"usd_per_hour": 1.5, "source": "our contract", "date": "2026-01-02"}
    before, after = (
        make_plan(spec, "data", REVISIONS, HOST)
        for spec in (make_spec(), make_spec(prices={"1xv100-1cpu": price}))
    )
    assert [cell.key for cell in before.cells] == [cell.key for cell in after.cells]
    found = {cell.profile.name: cell.profile.usd_per_hour for cell in after.cells}
    assert found["1xv100-1cpu"] == 1.5
    assert found["1xa100-1cpu"] == 3.67


def test_live_and_merged_are_two_cells_of_one_adapter() -> None:
    cells = ["distilgpt2@host", "distilgpt2@1xv100-1cpu"]
    live, merged, both = (
        plan(make_spec(cells=cells, serve={"adapters": adapters}))
        for adapters in ("live", "merged", ["live", "merged"])
    )
    assert {cell.name for cell in both.cells} == {
        f"standin-{cell}+{way}" for cell in cells for way in ("live", "merged")
    }
    assert {cell.place for cell in both.cells} == {f"standin-{cell}" for cell in cells}
    keys = {cell.key for cell in both.cells}
    assert len(keys) == 4
    # Each is the cell of the sweep that has it alone, and both serve the same adapter.
    assert keys == {cell.key for cell in (*live.cells, *merged.cells)}
    assert len(both.adapters) == 1
    # The field at its default enters no key, so that cells of earlier sweeps stay done.
    assert {cell.key for cell in live.cells} == {
        cell.key for cell in plan(make_spec(cells=cells)).cells
    }


def test_a_cell_is_the_same_whether_its_engine_is_named_or_chosen() -> None:
    spec = {"cells": ["distilgpt2@1xv100-1cpu"]}
    [chosen] = plan(make_spec(**spec, serve={"engine": "auto"})).cells
    [named] = plan(make_spec(**spec, serve={"engine": "continuous"})).cells
    assert chosen.key == named.key
    assert chosen.serving.engine == named.serving.engine == "continuous"
    assert "passed over: engine vllm needs compute capability 7.5" in chosen.serving.engine_reason
    assert named.serving.engine_reason == "the user names it"


def test_auto_is_the_default_and_the_key_is_that_of_the_engine_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if vLLM had attention for the stand-ins' heads.
    monkeypatch.setattr(compatibility, "VLLM_HEAD_DIMS", (16,))
    cells = {"cells": ["llama-3-8b@1xa100-1cpu", "llama-3-8b@1xv100-2cpu", "llama-3-8b@host"]}

    def keys(spec: SweepSpec, *, installed: bool) -> dict[str, tuple[str, str]]:
        missing = None if installed else "no vllm here"
        made = make_plan(
            spec,
            "data",
            REVISIONS,
            HOST,
            missing=lambda name, _: missing if name == "vllm" else None,
        )
        return {cell.profile.name: (cell.serving.engine, cell.key) for cell in made.cells}

    before = keys(make_spec(**cells), installed=False)
    after = keys(make_spec(**cells), installed=True)
    assert {engine for engine, _ in before.values()} == {"continuous"}
    assert before == keys(make_spec(**cells, serve={"engine": "continuous"}), installed=True)
    # An engine that was installed since has other keys, where it is taken.
    assert (
        after["1xa100-1cpu"]
        == (keys(make_spec(**cells, serve={"engine": "vllm"}), installed=True)["1xa100-1cpu"])
    )
    assert after["1xa100-1cpu"][1] != before["1xa100-1cpu"][1]
    assert after["1xv100-2cpu"] == before["1xv100-2cpu"]
    assert after["host"] == before["host"]  # live adapters
    # vLLM gives no log-probabilities beside live adapters.
    sure = keys(make_spec(**cells, quality={"confidence": True}), installed=True)
    assert {engine for engine, _ in sure.values()} == {"continuous"}


def test_a_merged_adapter_on_a_quantized_base_is_refused() -> None:
    serve = {"adapters": "merged", "quantization": "nf4"}
    [cell] = plan(make_spec(cells=["distilgpt2@host"], serve=serve)).cells
    assert cell.refused is not None
    assert "would round the sum of base and adapter" in cell.refused
