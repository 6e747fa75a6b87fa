from __future__ import annotations

from typing import Any

import pytest

from medsweep.hardware.profile import HardwareProfile
from medsweep.models.catalog import MODELS
from medsweep.sweep.batches import batch_cells
from medsweep.sweep.cell import Cell
from medsweep.sweep.plan import make_plan
from support import make_spec


def planned_cells(**fields: Any) -> tuple[Cell, ...]:
    host = HardwareProfile("host", 2, 0, None, 16 * 2**30)
    return make_plan(make_spec(**fields), "data", dict.fromkeys(MODELS, "r1"), host).cells


def test_a_batch_holds_each_profile_once() -> None:
    cells = planned_cells(cells=["all"])
    groups = batch_cells(cells, 4)
    assert sorted(cell.key for group in groups for cell in group) == sorted(
        cell.key for cell in cells
    )
    for group in groups:
        assert len(group) <= 4
        assert len({cell.profile.name for cell in group}) == len(group)


@pytest.mark.parametrize("seed", range(9))
def test_no_batch_is_for_what_was_left_to_the_end(seed: int) -> None:
    assert len(batch_cells(planned_cells(seed=seed), 5)) == 3
