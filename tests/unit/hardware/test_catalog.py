import datetime
import pickle

import pytest

from medsweep.hardware.catalog import ACCELERATORS, PROFILES

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


def test_prices_grow_with_the_machine() -> None:
    small, large = PROFILES["1xa100-2cpu"].usd_per_hour, PROFILES["2xa100-4cpu"].usd_per_hour
    assert small is not None
    assert large is not None
    assert small < large


def test_profiles_travel_to_other_processes() -> None:
    for found in PROFILES.values():
        assert pickle.loads(pickle.dumps(found)) == found


def test_float16_is_at_least_as_fast_as_float32() -> None:
    assert len(ACCELERATORS) == 3
    for accelerator in ACCELERATORS.values():
        assert accelerator.peak_flops["float16"] >= accelerator.peak_flops["float32"]
        assert accelerator.memory_bandwidth_bytes_per_s is not None
        assert 5e11 < accelerator.memory_bandwidth_bytes_per_s < 5e12
