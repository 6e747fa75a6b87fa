from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import pytest

from medsweep.finetune.batch_order import Layout, Step, plan_epoch
from medsweep.finetune.data import Example
from medsweep.finetune.recipe import Packing

PACKINGS: list[Packing] = ["bucketed", "packed", "padded"]
WIDTH = 80


def examples(count: int) -> list[Example]:
    """Examples of different lengths, each told by its question."""
    return [Example(tuple(range(3 + (n * 37) % 50)), 2, question_id=str(n)) for n in range(count)]


def layout(**changes: Any) -> Layout:
    return replace(Layout(batch_size=4, micro_batch_size=4, width=WIDTH), **changes)


def learnt(step: Step) -> list[str]:
    return [
        example.question_id
        for micro in step.micro_batches
        if micro.learn
        for row in micro.rows
        for example in row
    ]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 4, 31, 70])
def test_an_epoch_holds_every_example_once(packing: Packing, workers: int, count: int) -> None:
    given, how = examples(count), layout(packing=packing, micro_batch_size=2)
    plans = [plan_epoch(given, how, seed=1, worker=w, workers=workers) for w in range(workers)]
    found = Counter(name for plan in plans for step in plan for name in learnt(step))
    assert found == Counter(example.question_id for example in given)
    assert {len(plan) for plan in plans} == {how.steps(count)} == {-(-count // 4)}


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_step_learns_from_the_same_examples_however_it_is_spread(packing: Packing) -> None:
    given = examples(30)

    def sets(workers: int, micro: int) -> list[set[str]]:
        how = layout(packing=packing, micro_batch_size=micro)
        plans = [plan_epoch(given, how, seed=5, worker=w, workers=workers) for w in range(workers)]
        return [set().union(*map(learnt, steps)) for steps in zip(*plans, strict=True)]

    assert sets(1, 4) == sets(1, 1) == sets(2, 1) == sets(2, 4) == sets(3, 2)


@pytest.mark.parametrize("packing", PACKINGS)
def test_workers_meet_in_every_pass(packing: Packing) -> None:
    # 5 examples a step over 2 workers are 3 and 2; the last step has only 1 for the two.
    given, how = examples(31), layout(packing=packing, batch_size=5, micro_batch_size=1)
    both = [plan_epoch(given, how, seed=2, worker=worker, workers=2) for worker in (0, 1)]
    for one, other in zip(*both, strict=True):
        assert len(one.micro_batches) == len(other.micro_batches)
        assert (one.tokens, one.answer_tokens) == (other.tokens, other.answer_tokens)
    fillers = [m for plan in both for step in plan for m in step.micro_batches if not m.learn]
    assert fillers
    assert sum(step.tokens for step in both[0]) == sum(len(e.input_ids) for e in given)
    assert sum(step.answer_tokens for step in both[0]) == sum(e.answer_tokens for e in given)


def test_packed_rows_are_full_and_no_longer_than_the_width() -> None:
    given = examples(64)
    steps = plan_epoch(given, layout(packing="packed", batch_size=16), seed=1)
    rows = [row for step in steps for micro in step.micro_batches for row in micro.rows]
    lengths = [sum(len(example.input_ids) for example in row) for row in rows]
    assert max(lengths) <= WIDTH
    assert len(rows) < len(given) / 2
    assert sum(lengths) / len(rows) > 0.75 * WIDTH


def test_micro_batches_hold_the_rows_that_they_may() -> None:
    for packing in PACKINGS:
        how = layout(packing=packing, batch_size=16, micro_batch_size=3)
        sizes = [
            len(micro.rows)
            for step in plan_epoch(examples(64), how, seed=1)
            for micro in step.micro_batches
        ]
        assert max(sizes) == 3


def test_a_step_s_examples_are_drawn_at_random_whatever_the_layout() -> None:
    given = examples(64)
    sets = [
        [set(learnt(step)) for step in plan_epoch(given, layout(packing=packing), seed=1)]
        for packing in PACKINGS
    ]
    assert sets[0] == sets[1] == sets[2]
    # Batching by length over the epoch would make steps of equal lengths.
    lengths = {example.question_id: len(example.input_ids) for example in given}
    spread = [
        max(lengths[each] for each in one) - min(lengths[each] for each in one) for one in sets[0]
    ]
    assert sorted(spread)[len(spread) // 2] > 15


def passes(packing: Packing, **changes: Any) -> list[list[int]]:
    """The tokens of each row, padding excluded, of each pass of one step."""
    [step] = plan_epoch(examples(16), layout(packing=packing, batch_size=16, **changes), seed=1)
    return [[sum(len(e.input_ids) for e in row) for row in m.rows] for m in step.micro_batches]


def computed(rows: list[list[int]]) -> int:
    return sum(len(row) * max(row) for row in rows)


def test_a_pass_holds_as_many_tokens_as_it_may_padding_included() -> None:
    for tokens in (80, 160, 400):
        rows = passes("bucketed", micro_batch_size=16, tokens=tokens)
        assert all(len(row) * max(row) <= tokens for row in rows)
        assert len(rows) <= 1 + computed(rows) / (tokens - 50)
    # Short rows go more to a pass than full ones would.
    assert max(map(len, passes("bucketed", micro_batch_size=16, tokens=2 * WIDTH))) > 2
    # A row that is longer than a pass may be is a pass of its own.
    assert {len(row) for row in passes("bucketed", micro_batch_size=16, tokens=1)} == {1}


def test_the_cheaper_a_pass_the_less_padding() -> None:
    real = sum(len(example.input_ids) for example in examples(16))
    free, cheap, dear = (
        passes("bucketed", micro_batch_size=16, pass_tokens=cost) for cost in (0, 16, 10_000)
    )
    assert computed(free) == real
    assert real < computed(cheap) < 1.15 * real
    assert len(dear) == 1
    # By trying every way to cut: none is cheaper.
    lengths = sorted(length for row in cheap for length in row)
    ways = (
        [lengths[a:b] for a, b in pairwise([0, *cuts, 16])]
        for count in range(16)
        for cuts in combinations(range(1, 16), count)
    )
    best = min(computed(way) + 16 * len(way) for way in ways)
    assert computed(cheap) + 16 * len(cheap) == best


def test_the_seed_decides_the_order() -> None:
    given = examples(70)
    assert plan_epoch(given, layout(), seed=1) == plan_epoch(given, layout(), seed=1)
    assert plan_epoch(given, layout(), seed=1) != plan_epoch(given, layout(), seed=2)
