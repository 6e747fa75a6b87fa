"""The data order: which examples each optimizer step trains on, and how they are batched.

A step always trains on the same `batch_size` examples, whatever the number of workers, the size of
the micro-batches and their layout. That makes runs comparable.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from medsweep.finetune.data import Example, Row
from medsweep.finetune.recipe import Packing

BUCKET_STEPS = 50
"""Most steps per bucket; a bucket's examples are sorted by length to reduce padding."""

BUCKETS = 4
"""Fewest buckets per epoch, so that every epoch batches other examples together."""


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
        packing: `bucketed` puts examples of similar length into a step and pads to the longest;
            `packed` puts several into a row; `padded` pads each to `width`.
    """

    batch_size: int
    micro_batch_size: int
    width: int
    packing: Packing = "bucketed"

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
    shuffler = random.Random(seed)  # noqa: S311 an order, not a secret
    order, size = list(examples), layout.batch_size
    shuffler.shuffle(order)
    if layout.packing != "bucketed":
        return [order[start : start + size] for start in range(0, len(order), size)]
    groups = []
    together = size * max(1, min(BUCKET_STEPS, len(order) // (BUCKETS * size)))
    for start in range(0, len(order), together):
        bucket = order[start : start + together]
        bucket.sort(key=lambda example: len(example.input_ids))
        groups += [bucket[first : first + size] for first in range(0, len(bucket), size)]
    shuffler.shuffle(groups)
    return groups


def _micro_batches(share: Sequence[Example], layout: Layout) -> list[MicroBatch]:
    rows = _packed(share, layout.width) if layout.packing == "packed" else [(one,) for one in share]
    size = layout.micro_batch_size
    return [MicroBatch(tuple(rows[first : first + size])) for first in range(0, len(rows), size)]


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
