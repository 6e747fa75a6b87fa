import re

import pytest

from medsweep.hardware.catalog import A100, ACCELERATORS, RTX_8000, V100
from medsweep.hardware.profile import GIB, Accelerator, HardwareProfile

TITLES = [
    (1, 1, V100, "1 CPU, 1 V100"),
    (4, 2, RTX_8000, "4 CPUs, 2 RTX 8000s"),
    (2, 0, None, "2 CPUs, no GPU"),
]


@pytest.mark.parametrize(("cpus", "gpus", "accelerator", "title"), TITLES)
def test_title_is_the_paper_s_wording(
    cpus: int, gpus: int, accelerator: Accelerator | None, title: str
) -> None:
    assert HardwareProfile("x", cpus, gpus, accelerator, GIB).title == title


def test_labels_are_valid_on_kubernetes_for_every_accelerator() -> None:
    for accelerator in ACCELERATORS.values():
        labels = HardwareProfile("p", 1, 1, accelerator, GIB).labels
        assert set(labels) == {"medsweep.io/profile", "medsweep.io/gpu"}
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", labels["medsweep.io/gpu"])
    assert HardwareProfile("host", 1, 0, None, GIB).labels["medsweep.io/gpu"] == "none"


def test_gpu_memory_counts_all_gpus() -> None:
    assert HardwareProfile("x", 4, 2, A100, GIB).gpu_memory_bytes == 2 * int(39.3 * GIB)
    assert HardwareProfile("x", 4, 0, None, GIB).gpu_memory_bytes == 0


@pytest.mark.parametrize(
    ("accelerator", "native"), [(V100, False), (RTX_8000, False), (A100, True)]
)
def test_bfloat16_is_native_from_compute_capability_8(
    accelerator: Accelerator, native: bool
) -> None:
    assert accelerator.native_bf16 is native
    assert ("bfloat16" in accelerator.peak_flops) is native


def test_profiles_can_be_keys() -> None:
    assert len({HardwareProfile("x", 1, 1, V100, GIB), HardwareProfile("x", 1, 1, V100, GIB)}) == 1
