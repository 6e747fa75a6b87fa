"""The data order: which examples each optimizer step trains on, and how they are batched.

A step always trains on the same `batch_size` examples, drawn at random, whatever the number of
workers, the size of the micro-batches and their layout. That makes runs comparable: the layouts
differ in time alone. Batching examples of one length over the whole epoch would save padding too,
but it learns less in as many steps (docs/finetuning.md).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsweep.finetune.data import Example, Row
from medsweep.finetune.recipe import Packing

PASS_TOKENS: Mapping[str, int] = {"cpu": 16, "cuda": 512}
"""What a forward and backward pass costs beside its tokens, in tokens, by type of device.

The weights are read and the kernels are started however few the tokens are. These are round
figures: one of a small model on two CPUs, and one between an 8B model on a data-centre GPU (about
200) and a small one (thousands).
"""


@dataclass(frozen=True)
class MicroBatch:
    """The input of one forward pass.

    Attributes:
        rows: examples by row.
        learn: False for a pass without loss, which keeps a worker in step with the others.
    """

    rows: tuple[Row, ...]
    learn: bool = True


@dataclass(frozen=True)
class Step:
    """One optimizer step of one worker.

    Attributes:
        micro_batches: of this worker; every worker has the same number.
        answer_tokens: tokens with a label on all workers; the loss is divided by them.
        tokens: tokens on all workers, without padding.
    """

    micro_batches: tuple[MicroBatch, ...]
    answer_tokens: int
    tokens: int


@dataclass(frozen=True)
class Layout:
    """How the examples of a step are laid out in rows.

    Attributes:
        batch_size: examples per optimizer step, over all workers.
        micro_batch_size: most rows in one worker's forward pass.
        width: tokens of the longest row.
        packing: `bucketed` puts examples of similar length into a forward pass and pads to the
            longest; `packed` puts several into a row; `padded` pads each to `width`.
        tokens: most tokens in one worker's forward pass, padding included; None takes
            `micro_batch_size` full rows.
        pass_tokens: what a pass costs beside its tokens, in tokens.
    """

    batch_size: int
    micro_batch_size: int
    width: int
    packing: Packing = "bucketed"
    tokens: int | None = None
    pass_tokens: int = PASS_TOKENS["cuda"]

    def steps(self, examples: int) -> int:
        """Return the number of optimizer steps in an epoch."""
        return math.ceil(examples / self.batch_size)


def plan_epoch(
    examples: Sequence[Example], layout: Layout, *, seed: int, worker: int = 0, workers: int = 1
) -> list[Step]:
    """Return the optimizer steps of one epoch, as one worker sees them.

    Args:
        examples: the training examples; each is used once.
        layout: how they are batched.
        seed: of the order.
        worker: index of this worker, from 0.
        workers: number of workers.
    """
    steps = []
    for group in _groups(examples, layout, seed):
        by_length = sorted(group, key=lambda example: len(example.input_ids))
        # Dealt in turn, so that every worker has about as many tokens.
        shares = [by_length[first::workers] for first in range(workers)]
        micro_batches = [_micro_batches(share, layout) for share in shares]
        most = max(len(own) for own in micro_batches)
        own = micro_batches[worker]
        # Workers synchronise in every pass, so all need the same number of passes.
        own += [MicroBatch(((by_length[0],),), learn=False)] * (most - len(own))
        steps.append(
            Step(
                tuple(own),
                sum(example.answer_tokens for example in group),
                sum(len(example.input_ids) for example in group),
            )
        )
    return steps


def _groups(examples: Sequence[Example], layout: Layout, seed: int) -> list[list[Example]]:
    """Return the examples of each step."""
    order, size = list(examples), layout.batch_size
    random.Random(seed).shuffle(order)  # noqa: S311 an order, not a secret
    return [order[start : start + size] for start in range(0, len(order), size)]


def _micro_batches(share: Sequence[Example], layout: Layout) -> list[MicroBatch]:
    """Return the passes over a worker's examples that cost the least together.

    Rows of one pass are padded to the longest, so rows of similar length belong together: the rows
    are sorted, and dynamic programming finds the best places to cut.
    """
    rows = _packed(share, layout.width) if layout.packing == "packed" else [(one,) for one in share]
    rows.sort(key=row_tokens)
    lengths = [layout.width if layout.packing == "padded" else row_tokens(row) for row in rows]
    most = layout.tokens or layout.micro_batch_size * layout.width
    # For the first n rows: the least cost, and where the last pass begins.
    costs, begins = [0], [0]
    for end, longest in enumerate(lengths, start=1):
        fitting = min(layout.micro_batch_size, max(1, most // longest))
        firsts = range(max(0, end - fitting), end)
        cost, first = min((costs[each] + longest * (end - each), each) for each in firsts)
        costs.append(cost + layout.pass_tokens)
        begins.append(first)
    passes: list[MicroBatch] = []
    end = len(rows)
    while end:
        passes.append(MicroBatch(tuple(rows[begins[end] : end])))
        end = begins[end]
    return passes[::-1]


def row_tokens(row: Row) -> int:
    """Return the tokens of a row, without padding."""
    return sum(len(example.input_ids) for example in row)


def _packed(share: Sequence[Example], width: int) -> list[Row]:
    """Pack the examples into as few, evenly filled rows as the longest-first rule allows."""
    if not share:
        return []
    longest_first = sorted(share, key=lambda example: -len(example.input_ids))
    total = sum(len(example.input_ids) for example in share)
    for count in range(math.ceil(total / width), len(share)):
        rows: list[list[Example]] = [[] for _ in range(count)]
        filled = [0] * count
        for example in longest_first:
            emptiest = filled.index(min(filled))
            rows[emptiest].append(example)
            filled[emptiest] += len(example.input_ids)
        if max(filled) <= width:
            return [tuple(row) for row in rows]
    return [(example,) for example in share]
