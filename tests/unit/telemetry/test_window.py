from __future__ import annotations

import time
from typing import Any

import pytest

from medsweep.results.conditions import TELEMETRY
from medsweep.telemetry.recording import Recording, Sample
from medsweep.telemetry.window import telemetry_columns, window_columns


def sample(at_s: float, **changes: Any) -> Sample:
    """A machine that does all its work at a steady rate."""
    counters = {
        "cpu_ticks": 400 * at_s,
        "cpu_idle_ticks": 100 * at_s,
        "cpu_steal_ticks": 20 * at_s,
        "group_cpu_s": 3 * at_s,
        "cpu_periods": 10 * at_s,
        "cpu_throttled_periods": 2 * at_s,
        "cpu_throttled_s": 0.1 * at_s,
        "gpu_energy_j": 200 * at_s,
        "network_sent_bytes": 50 * at_s,
        "engine_cpu_s": 1.5 * at_s,
        "thread/engine/1": 0.9 * at_s,
        "thread/engine/2": 0.6 * at_s,
        "thread/client/3": 1.0 * at_s,
    }
    gauges = {"gpu_utilisation": at_s / 100, "gpu_memory_used_bytes": at_s, "gpu_throttled": 0.0}
    found = Sample(at_s, counters, gauges)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


STEADY = [sample(float(second)) for second in range(11)]


def test_counters_become_rates_and_energy_is_of_the_window_alone() -> None:
    found = window_columns(STEADY, 2.5, 6.5)
    assert {name: value for name, value in found.items() if not name.startswith("gpu_")} == (
        pytest.approx(
            {
                "engine_cpu_cores": 1.5,
                "group_cpu_cores": 3.0,
                "engine_thread_busy": 0.9,
                "network_sent_bytes": 200.0,
                "cpu_busy": 0.75,
                "cpu_steal": 0.05,
                "cpu_throttled_share": 0.2,
                "cpu_throttled_s": 0.5,
            }
        )
    )
    assert found["gpu_energy_j"] == pytest.approx(800.0)


def test_gauges_are_of_the_samples_inside() -> None:
    found = window_columns(STEADY, 2.5, 6.5)
    assert found["gpu_utilisation"] == pytest.approx((3 + 4 + 5 + 6) / 400)
    assert found["gpu_memory_used_bytes"] == 6
    between = window_columns(STEADY, 4.2, 4.4)
    assert between["gpu_utilisation"] == pytest.approx(0.045)  # those that embrace it


def test_throttling_is_counted_by_reason() -> None:
    hot = [
        sample(float(second), reasons={"power cap"} if second == 4 else set())
        for second in range(11)
    ]
    for each in hot:
        each.gauges["gpu_throttled"] = float(bool(each.reasons))
    found = window_columns(hot, 2.5, 6.5)
    assert found["gpu_throttled_share"] == pytest.approx(0.25)
    assert found["gpu_throttle_reasons"] == {"power cap": 1}


def test_a_thread_that_began_meanwhile_and_a_counter_that_was_reset() -> None:
    late = sample(10.0)
    late.counters |= {"thread/engine/9": 7.6, "gpu_energy_j": 3.0}
    found = window_columns([sample(2.0), late], 2.0, 10.0)
    assert found["engine_thread_busy"] == pytest.approx(0.95)
    assert "gpu_energy_j" not in found


def test_sensors_that_say_nothing_have_no_columns_but_a_reason() -> None:
    silent = [Sample(float(second), missing={"gpu": "no driver"}) for second in range(3)]
    assert window_columns(silent, 0.5, 1.5) == {"telemetry_missing": '{"gpu": "no driver"}'}
    assert window_columns([], 0.5, 1.5) == {}


def test_a_window_is_joined_by_the_clock_of_its_requests() -> None:
    now_s, clock_s = time.time(), time.perf_counter()
    samples = tuple(
        Sample(now_s + second, {"engine_cpu_s": value})
        for second, value in ((0, 0.0), (10, 0.0), (20, 5.0), (30, 99.0))
    )

    found = telemetry_columns(Recording(samples, 0.3), clock_s + 11, clock_s + 19)
    assert found == pytest.approx(
        {"engine_cpu_cores": 0.5, "telemetry_samples": 4, "telemetry_cpu_share": 0.01}
    )
    assert telemetry_columns(None, clock_s + 11, clock_s + 19) == {}


def test_every_column_is_in_the_schema() -> None:
    known = {column.name for column in TELEMETRY}
    assert set(window_columns(STEADY, 2.5, 6.5)) <= known
