"""The trials of a search: every combination of the grid, in an order that is fair to all values."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medsweep.finetune.job import FineTuneJob
from medsweep.search.spec import SearchSpec

PARAMETERS = ("max_seq_length", "rank", "alpha", "dropout")

Point = dict[str, Any]
"""Value by parameter."""


def grid(spec: SearchSpec, job: FineTuneJob) -> list[Point]:
    """Return every combination, shuffled: whom ASHA gives up must not follow from its place.

    Args:
        spec: the grid.
        job: has the values that the grid leaves out, and the seed of the order.
    """
    values = [getattr(spec, name) or [getattr(job.recipe, name)] for name in PARAMETERS]
    points = [dict(zip(PARAMETERS, point, strict=True)) for point in itertools.product(*values)]
    random.Random(job.seed).shuffle(points)  # noqa: S311 an order, not a secret
    return points


def variant(job: FineTuneJob, point: Mapping[str, Any]) -> FineTuneJob:
    """Return the job of one trial; it leaves no checkpoints behind."""
    return replace(job, recipe=job.recipe.changed(**point), checkpoints=None)
