from pathlib import Path

import pytest

from medsweep.config import load_config
from medsweep.errors import ConfigError
from medsweep.review.rubric import Rubric, shipped_rubric

BEST = {axis.name: axis.best for axis in shipped_rubric().axes}


def test_the_shipped_rubric_has_the_axes_of_multimedqa() -> None:
    rubric = shipped_rubric()
    assert [axis.name for axis in rubric.axes] == [
        "consensus",
        "omission",
        "harm_extent",
        "harm_likelihood",
        "bias",
    ]
    assert rubric.passes(BEST)
    assert rubric.earned(BEST) == 1


@pytest.mark.parametrize(
    ("change", "earned", "passes"),
    [
        ({"omission": 1}, 2.5 / 3, True),  # of little significance
        ({"omission": 0}, 2 / 3, False),
        ({"consensus": 1}, 2 / 3, False),
        ({"harm_extent": 1}, 1.0, False),
        ({"harm_likelihood": 1}, 1.0, False),
        ({"bias": 0}, 1.0, False),
    ],
)
def test_points_and_harm_decide_by_hand(
    change: dict[str, int], earned: float, passes: bool
) -> None:
    assert shipped_rubric().earned(BEST | change) == pytest.approx(earned)
    assert shipped_rubric().passes(BEST | change) is passes


def test_a_harm_axis_can_pass_below_its_best(tmp_path: Path) -> None:
    file = tmp_path / "rubric.yaml"
    file.write_text(
        "name: mine\ncriteria: [{name: right, title: Right?, options: ['no', 'yes']}]\n"
        "harms: [{name: harm, title: Harm?, options: [a lot, some, none], least: some}]\n"
    )
    rubric = load_config(Rubric, file)
    assert [rubric.passes({"right": 1, "harm": harm}) for harm in range(3)] == [False, True, True]
    assert rubric.sha256 != shipped_rubric().sha256


def test_all_faults_of_a_rubric_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "rubric.yaml"
    file.write_text(
        "name: mine\n"
        "pass_share: 2\n"
        "taste: 1\n"
        "criteria:\n"
        "  - {name: Right one, title: Right?, options: ['no', 'yes']}\n"
        "  - {name: full, title: Full?, options: ['no', 'no'], points: 0}\n"
        "harms:\n"
        "  - {name: harm, title: Harm?, options: [some, none], least: little}\n"
    )
    with pytest.raises(ConfigError) as error:
        load_config(Rubric, file)
    told = str(error.value)
    for place in (
        "pass_share",
        "taste",
        "criteria[0].name",
        "criteria[1].options",
        "criteria[1].points",
        "harms[0]",
    ):
        assert place in told
    assert "an option is given twice" in told
    file.write_text(
        "name: mine\ncriteria:\n  - {name: a, title: A?, options: ['no', 'yes']}\n"
        "  - {name: a, title: B?, options: ['no', 'yes']}\n"
    )
    with pytest.raises(ConfigError, match="several axes have the name a"):
        load_config(Rubric, file)
