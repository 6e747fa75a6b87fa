from typing import Any

import pytest

from medsweep.telemetry.bound import MEANINGS, Cause, add_bounds, find_bound

# A GPU machine on which nothing is near its limit.
CALM: dict[str, Any] = {
    "client_limited": False,
    "client_ttft_bias_s": 0.001,
    "ttft_mean_s": 0.1,
    "tpot_mean_s": 0.02,
    "overhead_ttft_s": 0.01,
    "overhead_tpot_s": 0.001,
    "gpu_utilisation": 0.4,
    "engine_thread_busy": 0.5,
    "engine_cpu_cores": 0.6,
    "cpu_throttled_share": 0.0,
    "cpu_busy": 0.4,
    "cpu_steal": 0.0,
    "cpus": 2,
    "cpus_given": 2,
}
NO_GPU = {"gpu_utilisation": None}

TABLE: list[tuple[dict[str, Any], float | None, Cause]] = [
    ({}, 0.09, "nothing at its limit"),
    ({"client_limited": True, "gpu_utilisation": 0.99}, None, "client"),
    ({"client_ttft_bias_s": 0.02, "gpu_utilisation": 0.99}, None, "client"),
    ({"client_ttft_bias_s": -0.02}, None, "client"),
    ({"gpu_utilisation": 0.85}, None, "gpu"),
    ({"gpu_utilisation": 0.95, "engine_thread_busy": 0.99}, 0.01, "gpu"),
    ({"engine_thread_busy": 0.90}, None, "cpu launch"),
    ({"engine_launch_share": 0.90}, None, "cpu launch"),
    ({"engine_launch_share": 0.2}, 0.09, "nothing at its limit"),
    ({"engine_thread_busy": 0.97, "cpu_throttled_share": 0.3}, None, "cpu quota"),
    ({"cpu_throttled_share": 0.10}, 0.01, "cpu quota"),
    ({**NO_GPU, "engine_cpu_cores": 1.6}, None, "cpu"),
    # Without a GPU a busy thread computes; it does not launch.
    (
        {**NO_GPU, "engine_thread_busy": 0.99, "engine_cpu_cores": 0.99},
        None,
        "nothing at its limit",
    ),
    ({"cpu_busy": 0.95, "overhead_ttft_s": 0.09}, 0.01, "cpu contention"),
    ({"cpu_steal": 0.2}, None, "cpu contention"),
    ({"cpu_busy": 0.99, "engine_thread_busy": 0.95}, None, "cpu launch"),
    ({**NO_GPU, "cpu_busy": 0.99, "engine_cpu_cores": 1.9}, None, "cpu"),
    ({"overhead_ttft_s": 0.06}, 0.01, "framework"),
    ({"overhead_tpot_s": 0.01}, None, "framework"),
    ({}, 0.04, "queue"),
    ({}, None, "nothing at its limit"),
    ({"ttft_mean_s": None, "tpot_mean_s": None}, 0.04, "nothing at its limit"),
]


@pytest.mark.parametrize(("changes", "unloaded_ttft_s", "cause"), TABLE)
def test_table(changes: dict[str, Any], unloaded_ttft_s: float | None, cause: Cause) -> None:
    found = find_bound({**CALM, **changes}, unloaded_ttft_s)
    assert found is not None
    assert found.cause == cause


def test_every_cause_is_in_the_table_and_has_words() -> None:
    assert {cause for *_, cause in TABLE} == set(MEANINGS)


def test_evidence_names_columns_values_and_limits() -> None:
    found = find_bound({**CALM, "engine_thread_busy": 0.98})
    assert found is not None
    assert found.evidence == (
        "client_ttft_bias_s / ttft_mean_s = 0.01 (under 0.10)",
        "gpu_utilisation = 0.40 (under 0.85)",
        "cpu_throttled_share = 0.00 (under 0.10)",
        "engine_thread_busy = 0.98 (at least 0.90)",
        "the engine used 0.60 of 2 CPUs: more of them change nothing",
    )


def test_a_busy_gpu_that_is_held_back_says_so() -> None:
    hot = {**CALM, "gpu_utilisation": 0.97, "gpu_throttled_share": 0.5}
    found = find_bound({**hot, "gpu_throttle_reasons": {"power cap": 3}})
    assert found is not None
    assert found.evidence[-1] == "clocks held back in 50 % of samples: power cap"


def test_without_sensors_there_is_no_verdict() -> None:
    assert find_bound({**CALM, "gpu_utilisation": None, "engine_thread_busy": None}) is None
    assert find_bound({}) is None


def test_rows_of_a_cell_are_held_against_its_lightest_load() -> None:
    rows = [
        {**CALM, "variant": variant, "load_point": point, "ttft_mean_s": ttft_s}
        for variant, point, ttft_s in (
            ("adapter", "c1", 0.1),
            ("adapter", "c1", 0.12),
            ("adapter", "c8", 0.3),
            ("base", "c8", 0.3),
        )
    ]
    rows.append(
        {**rows[0], "ttft_mean_s": None, "gpu_utilisation": None, "engine_thread_busy": None}
    )
    add_bounds(rows)
    calm = "nothing at its limit"
    assert [row.get("bound") for row in rows] == [calm, calm, "queue", calm, None]
    last = "share of ttft_mean_s beyond the unloaded TTFT = 0.63 (at least 0.50)"
    assert rows[2]["bound_evidence"].endswith(f"; {last}")


def test_evidence_of_a_launch_bound_names_the_time_of_a_launch() -> None:
    found = find_bound({**CALM, "engine_launch_share": 0.96, "engine_step_launch_s": 0.0352})
    assert found is not None
    assert "engine_launch_share = 0.96 (at least 0.90)" in found.evidence
    assert "launching a step takes 35.20 ms" in found.evidence
