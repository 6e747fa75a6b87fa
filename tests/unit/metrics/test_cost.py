from typing import Any

import pytest

from medsweep.metrics.cost import cost_columns

ROW: dict[str, Any] = {
    "basis": "observed",
    "requests_per_s": 2.0,
    "window_s": 50.0,
    "usd_per_hour": 3.6,
    "gpus": 1,
    "gpu_energy_j": 10_000.0,
    "cpu_energy_j": 5_000.0,
}


def test_by_hand() -> None:
    # 3.6 USD/h are 0.001 USD/s for two answers; 15 kJ are of 100 answers.
    assert cost_columns(ROW) == pytest.approx(
        {
            "usd_per_answer": 0.0005,
            "usd_per_1000_answers": 0.5,
            "energy_j_per_1000_answers": 150_000.0,
        }
    )


def test_a_verified_answer_costs_more_the_fewer_there_are() -> None:
    shares = {"verified_share": 0.25, "verified_share_low": 0.1, "verified_share_high": 0.5}
    columns = cost_columns({**ROW, **shares})
    prices = [columns[f"usd_per_verified_answer{end}"] for end in ("_low", "", "_high")]
    assert prices == pytest.approx([0.001, 0.002, 0.005])
    # If perhaps none is verified, there is no upper bound.
    unbounded = cost_columns({**ROW, **shares, "verified_share_low": 0.0})
    assert "usd_per_verified_answer_high" not in unbounded
    assert "usd_per_verified_answer" not in cost_columns({**ROW, "verified_share": 0.0})
    assert not cost_columns({**ROW, **shares, "basis": "emulated"})


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"basis": "emulated"}, set()),
        ({"requests_per_s": None}, set()),
        ({"usd_per_hour": None}, {"energy_j_per_1000_answers"}),
        (
            {"gpu_energy_j": None},
            {"usd_per_answer", "usd_per_1000_answers"},
        ),
        (
            {"gpus": 0, "gpu_energy_j": None, "usd_per_hour": None},
            {"energy_j_per_1000_answers"},
        ),
        (
            {"gpus": 0, "gpu_energy_j": None, "cpu_energy_j": None, "usd_per_hour": None},
            set(),
        ),
        ({"client_limited": True}, set()),
    ],
)
def test_what_cannot_be_known_is_absent(changes: dict[str, Any], known: set[str]) -> None:
    assert set(cost_columns({**ROW, **changes})) == known
