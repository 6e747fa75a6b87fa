from __future__ import annotations

import pytest

from medsweep.names import first_names


@pytest.mark.parametrize(
    ("count", "most", "text"),
    [
        (0, 3, ""),
        (1, 3, "a"),
        (3, 3, "a, b, c"),
        (4, 3, "a, b, c and 1 more"),
        (4, 1, "a and 3 more"),
    ],
)
def test_only_the_first_names_are_written(count: int, most: int, text: str) -> None:
    assert first_names(list("abcd")[:count], most) == text
