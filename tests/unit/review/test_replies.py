"""What a judge's replies say, and which are refused."""

import json

import pytest

from medsweep.review.replies import read_choice, read_ratings
from medsweep.review.rubric import shipped_rubric

from .conftest import AXES


@pytest.mark.parametrize("value", ["0", "4", "true", '"3"', "2.0", "null"])
def test_ratings_are_whole_numbers_of_options(value: str) -> None:
    text = json.dumps({axis.name: 1 for axis in AXES}).replace("1", value, 1)
    with pytest.raises(ValueError, match="consensus is no whole number from 1 to 3"):
        read_ratings(text, shipped_rubric())


def test_a_reply_says_what_was_asked_and_no_more() -> None:
    every = {axis.name: 1 for axis in AXES}
    assert read_ratings(json.dumps(every), shipped_rubric()) == dict.fromkeys(every, 0)
    with pytest.raises(ValueError, match="rates what was not asked"):
        read_ratings(json.dumps(every | {"charm": 1}), shipped_rubric())
    assert read_choice('I think {"better": "B"}.') == "B"
    for text in ('{"better": "C"}', '{"better": ["A"]}', '{"best": "A"}'):
        with pytest.raises(ValueError, match="with A, B or neither"):
            read_choice(text)
