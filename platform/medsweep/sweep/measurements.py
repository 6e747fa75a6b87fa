"""The measurements that a cell needs: every load point once per repeat."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medsweep.datasets.spec import Pair
from medsweep.loadgen.spec import LoadPoint
from medsweep.results.aggregate import VARIANTS
from medsweep.sweep.spec import LoadSpec


@dataclass(frozen=True)
class Measurement:
    """One load point of a cell in one repeat.

    Attributes:
        point: the load point.
        repeat: counted from 1.
        variant: `adapter` or `base`.
        deployment: in which of the planned deployments of the cell, counted from 1.
    """

    point: LoadPoint
    repeat: int
    variant: str
    deployment: int = 1

    @property
    def name(self) -> str:
        """Name of its files while the cell is not finished."""
        return f"{self.variant}-{self.point.name}-{self.repeat}"

    @property
    def words(self) -> str:
        """What is measured, for people: `fine-tuned, 8 clients, repeat 2`."""
        variant = "fine-tuned" if self.variant == "adapter" else self.variant
        return f"{variant}, {self.point.words}, repeat {self.repeat}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that identify it in every result file."""
        return {
            "load_point": self.point.name,
            "repeat": self.repeat,
            "variant": self.variant,
        }


def measurements_of(
    load: LoadSpec, questions: int, variants: Sequence[str] = VARIANTS
) -> list[Measurement]:
    """Return every measurement of a cell.

    Args:
        load: the sweep's load.
        questions: number of questions on the evaluation side. The base model is asked all of them,
            so that each answer can be paired with the adapter's.
        variants: what the cell serves; the load is measured on the first.
    """
    measurements = [
        Measurement(point, repeat, variants[0], load.deployment_of(repeat))
        for repeat in range(1, load.repeats + 1)
        for point in load.points
    ]
    if load.compare_base and "base" in variants[1:]:
        # A replay has as many requests as times, so that it may not reach every question.
        last = load.points[-1] if load.points[-1].due_s is None else LoadPoint(concurrency=1)
        base = replace(last, requests=questions, duration_s=None)
        measurements.append(Measurement(base, 1, "base"))
    return measurements


def questions_of(pairs: Sequence[Pair], requests: int, repeat: int, seed: int) -> list[Pair]:
    """Return the questions of one repeat; each repeat continues where the previous one stopped.

    The repeats of a load point together cover as many questions as they have requests, the same
    ones on every profile. So even a few requests per repeat give many pairs to compare.

    Args:
        pairs: the evaluation side.
        requests: that the repeat measures; with at least as many, every question is asked.
        repeat: counted from 1.
        seed: of the order.
    """
    order = list(pairs)
    random.Random(seed).shuffle(order)  # noqa: S311 an order, not a secret
    if requests >= len(order):
        return order
    start = (repeat - 1) * requests
    return [order[place % len(order)] for place in range(start, start + requests)]
