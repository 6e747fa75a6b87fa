from made_rows import repeats, result_set
from medsweep.comparison.trend import trend


def test_a_machine_that_slows_down_is_seen_across_load_points() -> None:
    slowing = [1.0, 1.1, 1.2, 1.3]
    rows = repeats("e2e_mean_s", slowing) + repeats(
        "e2e_mean_s", [10 * value for value in slowing], load_point="c8"
    )
    found = trend(result_set(rows))
    assert found.is_clear
    assert found.drift is not None
    assert found.drift.measurements == 8
    assert 0.2 < found.drift.change < 0.4


def test_steady_and_short_sets_have_none() -> None:
    steady = trend(result_set(repeats("e2e_mean_s", [1.0, 1.1, 1.0, 1.1, 1.0, 1.1])))
    assert not steady.is_clear
    assert trend(result_set(repeats("e2e_mean_s", [1.0, 1.1]))).drift is None
    assert trend(result_set(repeats("e2e_mean_s", [1.0]) * 6)).drift is not None


def test_measurements_of_one_second_are_not_put_in_the_order_of_their_values() -> None:
    rows = repeats("e2e_mean_s", [1.3, 1.2, 1.1, 1.0, 0.9, 0.8])
    same = [{**each, "measured_at": "2026-01-01T00:00:00"} for each in rows]
    found = trend(result_set(same)).drift
    assert found is not None
    assert found.change < 0
