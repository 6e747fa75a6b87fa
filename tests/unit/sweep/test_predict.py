from dataclasses import replace

import pytest

from medsweep.datasets.spec import Pair
from medsweep.hardware.catalog import V100
from medsweep.hardware.observe import host_profile
from medsweep.prediction.roofline import measured_machine
from medsweep.results.schema import BENCHMARK
from medsweep.sweep.cell import Cell
from medsweep.sweep.plan import make_plan, model_names
from medsweep.sweep.predict import (
    TRAINING_START_S,
    Lengths,
    lengths_of,
    machine_of,
    predict_cell,
    predict_finetune_s,
    predicted_rows,
    predicted_steps_s,
    roofline_columns,
)
from medsweep.sweep.resolve import resolve
from medsweep.sweep.spec import SweepSpec
from support import make_spec

LENGTHS = Lengths(prompt=60, sequence=160, pairs=190, questions=10)


def sweep(**changes: object) -> SweepSpec:
    load = {
        "points": [{"concurrency": 1, "requests": 10}, {"rate": 0.5, "requests": 10}],
        "repeats": 3,
        "max_tokens": 100,
    }
    return make_spec(stand_ins=False, load=load, **changes)


def cell(spec: SweepSpec, name: str) -> Cell:
    plan = make_plan(spec, "data", dict.fromkeys(model_names(spec), "r"), host_profile())
    return next(each for each in plan.cells if each.name == name)


def test_an_answer_takes_its_prompt_and_a_step_for_each_further_token() -> None:
    spec = sweep()
    closed, _ = predict_cell(spec, cell(spec, "llama-3-8b@1xa100-1cpu"), LENGTHS).points
    assert closed.e2e_s == pytest.approx(closed.ttft_s + 99 * closed.tpot_s)
    assert closed.requests_per_s == pytest.approx(1 / closed.e2e_s)


def test_no_more_sequences_are_decoded_together_than_have_room() -> None:
    load = {"points": [{"concurrency": 500}], "max_tokens": 2000}
    serve = {"quantization": "nf4", "max_batch_size": 256}
    names = ("llama-3-8b@1xv100-2cpu", "llama-3-8b@1xrtx8000-2cpu")
    finetune = {"quantization": "nf4"}
    spec = make_spec(stand_ins=False, cells=[*names], load=load, serve=serve, finetune=finetune)
    small, large = (predict_cell(spec, cell(spec, name), LENGTHS) for name in names)
    assert 1 < small.sequences < large.sequences < 256
    assert small.memory_bytes <= V100.usable_bytes
    for each in (small, large):
        assert each.points[0].requests_per_s == pytest.approx(each.sequences / each.points[0].e2e_s)


def test_only_an_engine_that_splits_a_model_has_the_bandwidth_of_several_gpus() -> None:
    """A plugin decides for itself what it does with the second GPU."""
    spec = sweep(cells=["llama-3-8b@1xa100-2cpu", "llama-3-8b@2xa100-4cpu"])
    one, two = (cell(spec, f"llama-3-8b@{profile}") for profile in ("1xa100-2cpu", "2xa100-4cpu"))
    plugin = [
        replace(each, serving=replace(each.serving, engine="a-plugin")) for each in (one, two)
    ]
    single, several = (predict_cell(spec, each, LENGTHS) for each in plugin)
    assert several.points == single.points
    assert several.sequences == single.sequences
    # Llama 3 does not fit one V100, so vLLM splits it over both.
    pair = cell(sweep(cells=["llama-3-8b@2xv100-4cpu"]), "llama-3-8b@2xv100-4cpu")
    split, unsplit = (
        replace(pair, refused=None, serving=replace(pair.serving, engine=engine))
        for engine in ("vllm", "a-plugin")
    )
    figures = [
        predict_cell(spec, each, LENGTHS).points[0].least_tpot_s for each in (split, unsplit)
    ]
    assert figures[0] is not None
    assert figures[0] == pytest.approx((figures[1] or 0) / 2, rel=0.05)


def test_a_measured_row_is_predicted_for_the_gpus_that_its_longest_request_needs() -> None:
    """Mistral and 2,048 tokens take 15.1 of a V100's 15.7 GiB, with 8,192 tokens 15.9."""
    spec = sweep(cells=["mistral-7b@2xv100-4cpu"])
    pair = cell(spec, "mistral-7b@2xv100-4cpu")
    pair = replace(pair, refused=None, serving=replace(pair.serving, engine="vllm"))
    one, both = (
        roofline_columns(spec, pair, LENGTHS, longest=longest)["c1"] for longest in (2048, 8192)
    )
    assert both["least_tpot_s"] == pytest.approx(one["least_tpot_s"] / 2, rel=0.05)


def test_a_merged_adapter_launches_no_kernels_of_its_own() -> None:
    """Two of a live one for each of the 4 matrices in 6 blocks, 8 us each."""
    tpot_s = []
    for adapters in ("live", "merged"):
        spec = sweep(serve={"engine": "generate", "adapters": adapters})
        tpot_s.append(
            predict_cell(spec, cell(spec, "distilgpt2@1xv100-1cpu"), LENGTHS).points[0].tpot_s
        )
    assert tpot_s[0] - tpot_s[1] == pytest.approx(2 * 4 * 6 * 8e-6)


def test_an_open_loop_answers_no_more_than_arrives() -> None:
    spec = sweep()
    _, opened = predict_cell(spec, cell(spec, "distilgpt2@1xv100-1cpu"), LENGTHS).points
    assert opened.requests_per_s == 0.5


def test_cost_is_the_time_under_load_at_the_list_price() -> None:
    spec = sweep()
    found = predict_cell(spec, cell(spec, "llama-3-8b@1xa100-1cpu"), LENGTHS)
    closed, opened = found.points
    assert found.load_s == pytest.approx(3 * (10 * closed.e2e_s + 10 / opened.requests_per_s))
    assert found.usd == pytest.approx(3.67 * found.load_s / 3600)
    unpriced = predict_cell(spec, cell(spec, "distilgpt2@1xv100-1cpu"), LENGTHS)
    assert unpriced.load_s is not None
    assert unpriced.usd is None


def test_a_refused_cell_is_not_predicted_but_its_memory_is() -> None:
    spec = sweep()
    found = predict_cell(spec, cell(spec, "gemma-1.1-7b@1xv100-2cpu"), LENGTHS)
    assert found.points == ()
    assert found.load_s is None
    assert found.memory_bytes > 16 * 2**30


def test_fine_tuning_takes_longer_for_more_epochs() -> None:
    chosen = cell(sweep(), "llama-3-8b@1xa100-1cpu")
    once, twice = (
        predict_finetune_s(
            sweep(finetune={"epochs": epochs}), chosen.model, chosen.profile, LENGTHS
        )
        for epochs in (1, 2)
    )
    assert once is not None
    assert twice is not None
    assert once < twice < 2 * once  # the questions before the first epoch are asked once


def test_a_fine_tune_here_takes_the_start_of_its_run_too() -> None:
    resolved = resolve(make_spec(stand_ins=True, cells=["distilgpt2@host", "llama-3-8b@host"]))
    adapters = list(resolved.plan.adapters.values())
    lengths = lengths_of(resolved.split.train, resolved.split.evaluation)
    alone = [
        predict_finetune_s(resolved.spec, each.model, each.profile, lengths) for each in adapters
    ]
    assert None not in alone
    training_s = sum(each or 0.0 for each in alone)
    # Two stand-ins of one profile share a run.
    both_s = 2 * predicted_steps_s(resolved, adapters, [])["fine-tune"]
    assert both_s == pytest.approx(training_s + TRAINING_START_S)


def test_this_machine_is_measured_and_no_faster_than_memory_can_be() -> None:
    machine = machine_of(host_profile(), "float32")
    assert machine is not None
    if host_profile().accelerator is None:
        assert machine is measured_machine()
        # From an old laptop to the largest servers there are.
        assert 1e9 < machine.bytes_per_s < 2e12
        assert 1e9 < machine.flops < 1e14


def test_lengths_are_counted_in_words() -> None:
    pairs = [Pair("q1", "what is it", "a thing of a kind")] * 2
    found = lengths_of(pairs, pairs[:1])
    assert found == Lengths(prompt=40 + 4, sequence=40 + 11, pairs=2, questions=1)


def test_predictions_are_rows_of_the_same_schema_with_their_basis() -> None:
    resolved = resolve(make_spec(load={"points": [{"concurrency": 2}], "repeats": 2}))
    lengths = lengths_of(resolved.split.train, resolved.split.evaluation)
    rows = [
        row
        for each in resolved.plan.cells
        for row in predicted_rows(resolved, predict_cell(resolved.spec, each, lengths))
    ]
    assert len(rows) == 12
    assert {row["basis"] for row in rows} == {"predicted"}
    assert set().union(*rows) <= {column.name for column in BENCHMARK}
