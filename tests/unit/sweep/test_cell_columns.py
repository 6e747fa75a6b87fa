from typing import Any

import pytest

from made_rows import REPLICA
from medsweep.hardware.catalog import PROFILES
from medsweep.sweep.cell_columns import observed_columns, requested_fault

ROW: dict[str, Any] = {
    "basis": "observed",
    "basis_reason": None,
    "dtype": "bfloat16",
    "dtype_given": "bfloat16",
    "cpus": 2,
    "cpus_given": 2,
    "gpus": 1,
    "gpu_utilisation": 0.4,
    "window_s": 60.0,
}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"dtype_given": "float32"}, "compute dtype: bfloat16 requested, float32 given"),
        ({"cpus_given": 1}, "CPUs for the engine: 2 requested, 1 given"),
        ({"gpu_utilisation": 0.0}, "the GPU was never busy: the engine computed without it"),
        ({"gpu_utilisation": None, "cpus_given": None, "dtype_given": None}, None),
        ({"gpu_utilisation": 0.0, "gpus": 0}, None),
        # A short load falls between NVML's samples, and a light one is less than a percent.
        ({"gpu_utilisation": 0.0, "window_s": 2.0}, None),
        ({"gpu_utilisation": 0.0, "window_s": None}, None),
        ({"gpu_utilisation": 0.0, "engine_step_launch_s": 4e-4}, None),
    ],
)
def test_observed(changes: dict[str, Any], fault: str | None) -> None:
    for emulation in (True, False):
        assert requested_fault({**ROW, **changes}, emulation=emulation) == fault


def test_emulated_is_a_fault_only_where_it_is_not_allowed() -> None:
    row = {**ROW, "basis": "emulated", "basis_reason": "no GPU", "dtype_given": "float32"}
    assert requested_fault(row, emulation=True) is None
    assert requested_fault(row, emulation=False) == "the node has other hardware: no GPU"


def test_how_gpus_are_used_is_what_the_engine_says() -> None:
    for words in ("tensor parallel over 2", None):
        columns = observed_columns(PROFILES["2xv100-4cpu"], {**REPLICA, "gpu_use": words})
        assert columns["gpu_use"] == words
