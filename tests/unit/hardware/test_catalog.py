import dataclasses
import datetime
import pickle
from pathlib import Path

import pytest

from medsweep.hardware.catalog import ACCELERATORS, GPU_PRICES, PAPER_ACCELERATORS, PROFILES
from medsweep.hardware.own import OwnProfileSpec
from medsweep.hardware.profile import USABLE_GIB

# The names of the design, and what each says: (gpus, slug, cpus).
NINE = {
    "1xv100-1cpu": (1, "v100", 1),
    "1xv100-2cpu": (1, "v100", 2),
    "2xv100-4cpu": (2, "v100", 4),
    "1xa100-1cpu": (1, "a100", 1),
    "1xa100-2cpu": (1, "a100", 2),
    "2xa100-4cpu": (2, "a100", 4),
    "1xrtx8000-1cpu": (1, "rtx8000", 1),
    "1xrtx8000-2cpu": (1, "rtx8000", 2),
    "2xrtx8000-4cpu": (2, "rtx8000", 4),
}


def test_there_are_nine_profiles() -> None:
    assert list(PROFILES) == list(NINE)
    assert len(PROFILES) == 9


@pytest.mark.parametrize("name", NINE)
def test_a_profile_is_what_its_name_says(name: str) -> None:
    found = PROFILES[name]
    assert found.accelerator is not None
    assert (found.gpus, found.accelerator.slug, found.cpus) == NINE[name]
    assert found.name == name
    assert found.accelerator is ACCELERATORS[NINE[name][1]]


@pytest.mark.parametrize("name", NINE)
def test_a_price_comes_with_source_and_date(name: str) -> None:
    found = PROFILES[name]
    if found.usd_per_hour is None:
        assert (found.price_source, found.price_date) == (None, None)
        assert "a100" not in name
        return
    assert found.price_source is not None
    assert found.price_date is not None
    assert datetime.date.fromisoformat(found.price_date).year >= 2025
    assert 0.5 < found.usd_per_hour / found.gpus < 10


def test_types_without_a_profile_have_a_list_price_that_the_guide_shows() -> None:
    """USD per hour of one GPU: whole machines of AWS, us-east-1, over their GPUs."""
    prices = {
        "v10032": 31.212 / 8,
        "a10080": 27.44705 / 8,
        "h100": 55.04 / 8,  # the machine of eight costs eight times as much
        "h200": 63.296 / 8,
        "l4": 0.8048,
        "l40s": 1.861,
        "t4": 0.526,
        "a10g": 1.006,
    }
    assert {name: price.usd_per_hour for name, price in GPU_PRICES.items()} == pytest.approx(prices)
    assert GPU_PRICES.keys() == ACCELERATORS.keys() - {each.slug for each in PAPER_ACCELERATORS}
    guide = (Path(__file__).parents[3] / "docs/hardware.md").read_text(encoding="utf-8")
    for name, price in GPU_PRICES.items():
        assert price.source.startswith("AWS on-demand list, us-east-1: ")
        machine = (
            price.source.removeprefix("AWS on-demand list, us-east-1: ").split()[0].rstrip(",")
        )
        assert f"| `{name}` | {price.usd_per_hour:.2f} | `{machine}`" in guide
        assert price.date in guide


def test_prices_grow_with_the_machine() -> None:
    small, large = PROFILES["1xa100-2cpu"].usd_per_hour, PROFILES["2xa100-4cpu"].usd_per_hour
    assert small is not None
    assert large is not None
    assert small < large


def test_profiles_travel_to_other_processes() -> None:
    for found in PROFILES.values():
        assert pickle.loads(pickle.dumps(found)) == found


def test_float16_is_at_least_as_fast_as_float32() -> None:
    assert len(ACCELERATORS) == 11
    for accelerator in ACCELERATORS.values():
        assert accelerator.peak_flops["float16"] >= accelerator.peak_flops["float32"]
        assert accelerator.memory_bandwidth_bytes_per_s is not None
        assert 3e11 <= accelerator.memory_bandwidth_bytes_per_s < 5e12


# The driver's totals in MiB, as `nvidia-smi` prints them.
TOTALS = {
    "v100": 16160,
    "v10032": 32510,
    "a100": 40960,
    "a10080": 81920,
    "h100": 81559,
    "h200": 143771,
    "l4": 23034,
    "l40s": 46068,
    "t4": 15360,
    "a10g": 23028,
}


@pytest.mark.parametrize("slug", TOTALS)
def test_usable_memory_is_a_little_less_than_the_driver_s_total(slug: str) -> None:
    gpu = ACCELERATORS[slug]
    total = TOTALS[slug] * 2**20
    assert 0.96 * total < gpu.usable_bytes < total <= gpu.memory_bytes


def test_every_accelerator_has_a_figure_of_usable_memory() -> None:
    assert {each.product for each in ACCELERATORS.values()} == USABLE_GIB.keys()


def test_usable_memory_of_a_card_without_a_figure_is_a_cautious_share() -> None:
    shares = {each.usable_bytes / each.memory_bytes for each in ACCELERATORS.values()}
    unknown = dataclasses.replace(ACCELERATORS["a100"], product="A100X")
    assert min(shares) < unknown.usable_bytes / unknown.memory_bytes < max(shares)


def test_native_dtypes_follow_from_the_compute_capability() -> None:
    for accelerator in ACCELERATORS.values():
        assert ("bfloat16" in accelerator.peak_flops) == accelerator.native_bf16
        assert ("int8" in accelerator.peak_flops) == (accelerator.compute_capability >= (7, 5))


def test_an_accelerator_that_cannot_be_used_says_why() -> None:
    with pytest.raises(ValueError, match="mi300x: AMD's GPUs need PyTorch for ROCm"):
        OwnProfileSpec(name="amd", cpus=8, host_memory_gib=64, gpus=1, accelerator="mi300x")
    own = OwnProfileSpec(name="h", cpus=8, host_memory_gib=64, gpus=2, accelerator="h100").profile()
    assert own.gpu_memory_bytes == 2 * ACCELERATORS["h100"].usable_bytes
