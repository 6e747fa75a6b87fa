import pytest

from medsweep.clock import FakeClock
from medsweep.telemetry import step_times
from medsweep.telemetry.recording import Sample
from medsweep.telemetry.step_times import StepTimes
from medsweep.telemetry.window import window_columns


def test_launches_and_waits_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, times = FakeClock(), StepTimes()
    monkeypatch.setattr(step_times, "perf_counter", clock.now)
    assert times.counters() == {}
    for _ in range(2):
        with times.launching():
            clock.advance(0.01)
        with times.waiting():
            clock.advance(0.03)
    assert times.counters() == pytest.approx(
        {"engine_steps": 2, "engine_launch_s": 0.02, "engine_wait_s": 0.06}
    )


def test_columns_are_of_the_steps_in_the_window() -> None:
    before = {"engine_launch_s": 5.0, "engine_wait_s": 1.0, "engine_steps": 100.0}
    after = {"engine_launch_s": 5.6, "engine_wait_s": 3.4, "engine_steps": 400.0}
    samples = [Sample(0.0, before), Sample(10.0, after)]
    columns = window_columns(samples, 1.0, 9.0)
    assert columns["engine_step_launch_s"] == pytest.approx(0.002)
    assert columns["engine_launch_share"] == pytest.approx(0.2)


def test_an_idle_window_has_none() -> None:
    same = {"engine_launch_s": 5.0, "engine_wait_s": 1.0, "engine_steps": 100.0}
    columns = window_columns([Sample(0.0, same), Sample(10.0, dict(same))], 1.0, 9.0)
    assert "engine_launch_share" not in columns
