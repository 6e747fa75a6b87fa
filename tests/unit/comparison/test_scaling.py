"""The paper's open question, on a constructed recording: see the file's own first lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medsweep.comparison.scaling import scaling_anomalies
from medsweep.telemetry.bound import find_bound
from medsweep.telemetry.recording import Sample
from medsweep.telemetry.window import window_columns

EXAMPLE = json.loads(
    (Path(__file__).parent / "a100_v100_constructed.json").read_text(encoding="utf-8")
)


def replay(cell: dict[str, Any]) -> dict[str, Any]:
    """The row that a recording comes to."""
    samples = []
    for values in cell["samples"]:
        now = dict(zip(EXAMPLE["columns"], values, strict=True))
        samples.append(
            Sample(
                now["at_s"],
                {
                    "gpu_energy_j": now["gpu_energy_j"],
                    "engine_cpu_s": now["engine_cpu_s"],
                    "thread/engine/1": now["engine_busiest_thread_s"],
                    "cpu_periods": now["cpu_periods"],
                    "cpu_throttled_periods": now["cpu_throttled_periods"],
                },
                {
                    "gpu_utilisation": now["gpu_utilisation"],
                    "gpu_power_w": now["gpu_power_w"],
                    "gpu_sm_clock_hz": now["sm_clock_mhz"] * 1e6,
                    "cpu_clock_hz": now["cpu_clock_ghz"] * 1e9,
                },
            )
        )
    row = {
        **{name: value for name, value in cell.items() if name != "samples"},
        **window_columns(samples, samples[1].at_s, samples[-2].at_s),
        "model": "llama-2-7b",
        "load_point": "c1",
        "variant": "adapter",
        "status": "ok",
        "basis": "observed",
        "engine": "generate",
    }
    found = find_bound(row)
    assert found is not None
    return {**row, "bound": found.cause, "evidence": found.evidence}


ROWS = {cell["profile"]: replay(cell) for cell in EXAMPLE["cells"]}


def test_the_example_says_that_it_is_constructed() -> None:
    assert EXAMPLE["what"].startswith("Constructed, not measured")
    assert len(ROWS) == 6


@pytest.mark.parametrize(
    ("profile", "cause"),
    [
        ("1xv100-1cpu", "cpu quota"),
        ("1xa100-1cpu", "cpu quota"),
        ("1xv100-2cpu", "cpu launch"),
        ("1xa100-2cpu", "cpu launch"),
        ("2xv100-4cpu", "cpu launch"),
        ("2xa100-4cpu", "cpu launch"),
    ],
)
def test_what_bound_each_cell(profile: str, cause: str) -> None:
    assert ROWS[profile]["bound"] == cause


def test_why_the_a100_is_slower_than_the_v100() -> None:
    found = {(each.less, each.more): each for each in scaling_anomalies(list(ROWS.values()))}
    slower = found["1xv100-2cpu", "1xa100-2cpu"]
    assert slower.gain < -0.1
    assert "both were bound by `cpu launch`: the GPU waited for the one thread" in slower.why
    assert "CPU clock 2.7 and 2.2 GHz" in slower.why


def test_different_engines_are_a_reason() -> None:
    rows = [ROWS["1xv100-2cpu"], {**ROWS["1xa100-2cpu"], "engine": "vllm"}]
    [slower] = scaling_anomalies(rows)
    assert slower.why.startswith(
        "they had different engines, generate and vllm; both were bound by `cpu launch`"
    )


def test_why_nothing_is_gained_past_two_cpus() -> None:
    found = {(each.less, each.more): each for each in scaling_anomalies(list(ROWS.values()))}
    for less, more in (("1xv100-2cpu", "2xv100-4cpu"), ("1xa100-2cpu", "2xa100-4cpu")):
        anomaly = found[less, more]
        assert abs(anomaly.gain) < 0.02
        assert "both were bound by `cpu launch`" in anomaly.why
        assert "CPUs used 1.2" in anomaly.why
        assert any("of 4 CPUs: more of them change nothing" in line for line in evidence(more))
    # The second CPU does gain: the first is shared with what surrounds the engine.
    assert ("1xa100-1cpu", "1xa100-2cpu") not in found
    assert ("1xv100-1cpu", "1xv100-2cpu") not in found


def evidence(profile: str) -> tuple[str, ...]:
    found: tuple[str, ...] = ROWS[profile]["evidence"]
    return found


def test_faster_hardware_that_is_faster_is_no_anomaly() -> None:
    fast = {**ROWS["1xa100-2cpu"], "output_tokens_per_s": 60.0}
    assert scaling_anomalies([ROWS["1xv100-2cpu"], fast]) == []
    emulated = [{**row, "basis": "emulated"} for row in ROWS.values()]
    assert scaling_anomalies(emulated) == []


def test_without_sensors_the_reason_is_not_known() -> None:
    blind = [{**row, "bound": None} for row in ROWS.values()]
    assert {each.why for each in scaling_anomalies(blind)} == {
        "not known: no sensor showed the bottleneck"
    }
